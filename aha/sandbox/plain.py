"""Plain data as JSON and back, type by type: what may pass between a judge and untrusted code.

This file is also the first part of the program that runs inside the jail (calls.py), so it imports
nothing of ours, and nothing at all before it is needed: each import is a part of every grading. What is
rebuilt are new objects of exactly these types; nothing that the other side
wrote is ever called.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEPTH, NODES, DIGITS = 60, 300_000, 20_000
"""Caps on nesting, on values in all, and on the digits of an integer."""
PLURAL: dict[str, Any] = {"l": list, "t": tuple, "s": set, "z": frozenset}


class NotPlain(Exception):
    """A value of another type, or too large. It says which."""


def encode(
    value: Any,
    other: Callable[[Any], Any] | None = None,
    depth: int = DEPTH,
    left: list[int] | None = None,
) -> Any:
    """A JSON value. `other(value)` may encode what is not plain; without it: NotPlain."""
    left = [NODES] if left is None else left
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        raise NotPlain("nested too deep, or too large")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        if value.bit_length() > DIGITS * 3.3:
            raise NotPlain("an integer of too many digits")
        return {"i": hex(value)}
    if kind is float:
        return {"f": repr(value)}
    if kind is complex:
        return {"c": [repr(value.real), repr(value.imag)]}
    if kind is bytes or kind is bytearray:
        return {"b": bytes(value).hex()}

    def inner(items: Any) -> list[Any]:
        return [encode(item, other, depth - 1, left) for item in items]

    for name, plural in PLURAL.items():
        if kind is plural:
            return {name: inner(list(value))}
    if kind is dict or (
        kind.__module__ == "collections"
        and kind.__name__ in ("OrderedDict", "defaultdict", "Counter")
    ):
        return {"d": [inner(pair) for pair in list(value.items())]}
    if kind.__module__ == "collections" and kind.__name__ == "deque":
        return {"q": inner(list(value))}
    if kind is range:
        return {"r": [hex(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, tuple) and hasattr(
        kind, "_fields"
    ):  # a named tuple is compared as a tuple
        return {"t": inner(tuple.__iter__(value))}
    if kind.__module__ == "builtins" and hasattr(kind, "__next__"):
        items = []
        for item in value:  # a generator, map, zip ...: what it gives, up to the cap
            items.append(encode(item, other, depth - 1, left))
        return {"y": items}
    if other is not None:
        return other(value)
    raise NotPlain(f"a value of type {kind.__name__}")


def decode(
    data: Any,
    other: Callable[[str, Any], Any] | None = None,
    depth: int = DEPTH,
    left: list[int] | None = None,
) -> Any:
    """The value. `other(name, content)` may decode what is not plain.

    Raises:
        NotPlain: not what `encode` writes.
    """
    left = [NODES] if left is None else left
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        raise NotPlain("nested too deep, or too large")
    if data is None or data is True or data is False or type(data) is str:
        return data
    if type(data) is not dict or len(data) != 1:
        raise NotPlain("not encoded data")
    ((name, content),) = data.items()

    def inner(items: Any) -> list[Any]:
        return [decode(item, other, depth - 1, left) for item in items]

    try:
        if name == "i":
            if len(content) > DIGITS:
                raise NotPlain("an integer of too many digits")
            return int(content, 16)
        if name == "f":
            return float(content)
        if name == "c":
            return complex(float(content[0]), float(content[1]))
        if name == "b":
            return bytes.fromhex(content)
        if name in PLURAL:
            return PLURAL[name](inner(content))
        if name == "d":
            return dict(inner(pair) for pair in content)
        if name == "q":
            import collections

            return collections.deque(inner(content))
        if name == "r":
            start, stop, step = (int(part, 16) for part in content)
            return range(start, stop, step)
        if name == "y":
            return iter(inner(content))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise NotPlain(f"not encoded data: {type(error).__name__}") from None
    if other is not None:
        return other(name, content)
    raise NotPlain(f"unknown kind {str(name)[:20]!r}")


def same(found: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Equal, types and all: 1 is not True, a list is not a tuple; floats within a relative tolerance.

    An int and a float of the same value are the same, as in every judge of the field.
    """
    if type(found) in (int, float) and type(expected) in (int, float):
        import math

        if found == expected:
            return True
        if type(found) is float and type(expected) is float and math.isnan(found):
            return math.isnan(expected)
        return tolerance > 0 and math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance)
    if type(found) is not type(expected):
        return False
    if isinstance(found, (list, tuple)):
        if len(found) != len(expected):
            return False
        return all(same(a, b, tolerance) for a, b in zip(found, expected, strict=True))
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(
            same(value, expected[key], tolerance) for key, value in found.items()
        )
    return bool(found == expected)

"""One value of a row: reaching it, and making text or plain data of it, or saying why not.

Holds not: which column plays which role (`columns.py`), what a kind of problem needs
(`code_rows.py`, `choice_rows.py`, `value_rows.py`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class Unusable(Exception):
    """Why a row cannot be used: (column, reason)."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a row gives a problem."""

    question: str
    gold: str
    used: frozenset[str] = frozenset()
    """Columns that are in the question or the gold, beside those that play a role."""


_RAISE = object()
_ABSENT = object()


def reach(value: Mapping[str, Any], column: str, *, missing: Any = _RAISE) -> Any:
    """The value of a column; `a.b` looks inside column a if there is none of that whole name.

    Raises:
        Unusable: it is not there (unless `missing` says what to return then).
    """
    if column in value:
        return value[column]
    found: Any = value
    for part in column.split("."):
        if not isinstance(found, Mapping) or part not in found:
            if missing is _RAISE:
                raise Unusable(column, "missing key")
            return missing
        found = found[part]
    return found


def has(row: Mapping[str, Any], column: str) -> bool:
    return reach(row, column, missing=_ABSENT) is not _ABSENT


def number(value: Any, column: str) -> Any:
    """Numbers as text: 42 and 42.0 give "42"; text and everything else unchanged."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise Unusable(column, f"{value} is not a number that can be compared")
    if isinstance(value, float) and not (value.is_integer() and abs(value) < 1e15):
        return repr(value)
    try:
        return str(int(value))
    except ValueError as error:  # thousands of digits
        raise Unusable(column, str(error)) from error


def text(value: Any, column: str) -> str:
    """Usable text, stripped of outer white space.

    Raises:
        Unusable: wrong type, empty, a NUL byte, a lone surrogate.
    """
    if not isinstance(value, str):
        raise Unusable(column, f"wrong type: {type_of(value)}, text is needed")
    value = value.strip()
    if not value:
        raise Unusable(column, "empty")
    return whole(value, column)


def whole(value: str, column: str) -> str:
    """The same text, which may be empty.

    Raises:
        Unusable: a NUL byte, a lone surrogate.
    """
    if "\0" in value:
        raise Unusable(column, "NUL byte")
    if not value.isascii():
        for place, sign in enumerate(value):
            if "\udc80" <= sign <= "\udcff":
                raise Unusable(column, f"invalid UTF-8 or lone surrogate at character {place + 1}")
            if "\ud800" <= sign <= "\udfff":
                raise Unusable(column, f"lone surrogate at character {place + 1}")
    return value


def data(value: Any) -> Any:
    """The value, or what it says where it is an object or a list in JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def type_of(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def plain(value: Any) -> Any:
    """What JSON can hold; other values as text, raw bytes as their number."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    return str(value)


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown}, ..." if len(names) > 12 else shown

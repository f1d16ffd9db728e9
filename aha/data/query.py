"""Sources as one line of text: WHERE[?key=value&...], and typed settings made from the keys.

Holds not: what the keys mean (`sources.py`, `tasks/`), but for `weight`, which every source takes.
Values are taken as written: `+` is a plus sign, `%26` and `%3D` stand for `&` and `=`.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, TypeVar, get_type_hints
from urllib.parse import unquote

from aha.errors import ConfigError

T = TypeVar("T")
Span = tuple[int, int]
"""Smallest and largest, both included; written `3-4`, or `3` for 3-3."""


@dataclass(frozen=True, slots=True)
class Query:
    where: str
    keys: dict[str, str]


def parse(source: str) -> Query:
    """Split a source at its first `?`.

    Raises:
        ConfigError: nothing before the `?`, a part without `=`, or a key given twice.
    """
    where, _, text = source.partition("?")
    where = where.strip()
    if not where:
        raise ConfigError(
            f"data source {source!r} names no place; write a task, a file, a folder or a hub id"
        )
    keys: dict[str, str] = {}
    for part in text.split("&") if text else ():
        key, sign, value = part.partition("=")
        key = key.strip()
        if not sign or not key:
            raise ConfigError(f"data source {source!r}: write {part!r} as key=value")
        if key in keys:
            raise ConfigError(f"data source {source!r}: '{key}' is given twice")
        keys[key] = unquote(value.strip())
    return Query(where, keys)


def take_weight(asked: Query) -> Fraction:
    """The source's weight in a mixture, 1 if it has none; the key is taken out of `asked.keys`.

    Raises:
        ConfigError: not a number from 0.001 to 1000.
    """
    text = asked.keys.pop("weight", "1")
    try:
        weight = Fraction(repr(float(text)))  # by way of float: 1e999999999 is inf at once
    except (ValueError, OverflowError):  # nan and inf are no fractions
        weight = Fraction(0)
    if not Fraction(1, 1000) <= weight <= 1000:
        raise ConfigError(
            f"{asked.where}?weight={text}: write a number from 0.001 to 1000, e.g. 3 or 0.5; "
            "to leave a source out, take it out of the list"
        )
    return weight


def refuse_weight(asked: Query) -> None:
    """Take out a weight of 1, as good as none: here every row of every source is taken.

    Raises:
        ConfigError: another weight.
    """
    if take_weight(asked) != 1:
        raise ConfigError(
            f"{asked.where}?weight=: shares are for data.train and the train of an sft stage; here all "
            "rows of all sources are taken. Take fewer with ?n="
        )


def number(text: str, *, where: str) -> float:
    """A finite number.

    Raises:
        ConfigError: anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{where}={text}: write a number")
    return value


def truth(text: str, *, where: str) -> bool:
    """true or false, also 1, yes, on and 0, no, off.

    Raises:
        ConfigError: anything else.
    """
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{where}={text}: write true or false")


def refuse_unknown(keys: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Raise ConfigError for the first key that is not known, naming the nearest one."""
    known = sorted(known)
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise ConfigError(f"{where} has no key '{key}'; {hint}")


def settings(kind: type[T], keys: Mapping[str, str], *, where: str) -> T:
    """A dataclass filled from query keys: fields of type int, float, bool, str or Span.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or what the class itself refuses.
    """
    hints = get_type_hints(kind)
    refuse_unknown(keys, [field.name for field in fields(kind)], where=where)  # type: ignore[arg-type]
    values = {key: _value(text, hints[key], f"{where}?{key}") for key, text in keys.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def integer(text: str, *, where: str) -> int:
    """A whole number of plain digits.

    Raises:
        ConfigError: anything else.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise ConfigError(f"{where}={text}: write a whole number")
    return int(text)


def _value(text: str, kind: Any, where: str) -> Any:
    if kind is bool:
        return truth(text, where=where)
    if kind is int:
        return integer(text, where=where)
    if kind is float:
        return number(text, where=where)
    if kind == Span:
        low, dash, high = text.partition("-")
        return integer(low, where=where), integer(high if dash else low, where=where)
    assert kind is str, f"{where}: a setting of type {kind}"
    return text

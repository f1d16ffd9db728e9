"""What is odd in JSON that can be read: a key given twice, NaN and Infinity.

Python's reader takes the last of two keys and makes numbers of the constants; other programs refuse
both, or take the first. Rows are told by their number, as `readers.py` counts them.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.data import readers

Note = tuple[str, str]
"""(kind, sentence) of a row that is read, but odd."""


class _Twice(dict[str, Any]):
    """An object that gives a key twice; `pairs` is all that it gives."""

    pairs: Sequence[tuple[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class _Constant:
    """NaN, Infinity or -Infinity."""

    name: str


def of_line(line: bytes) -> list[Note]:
    """What is odd in a line that can be read: a key given twice, NaN or Infinity."""
    try:
        value, odd = _marked(line)
    except (ValueError, RecursionError):
        return []  # the reader has said so
    return _notes(value) if odd else []


def of_file(path: Path) -> dict[int, list[Note]]:
    """The same of a .json file: row -> notes, 0 for what stands outside of the rows.

    Row numbers as in `readers.read`; {} for a file that cannot be read, which the reader says.
    """
    try:
        with (
            gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file
        ):
            data = file.read(readers.MAX_JSON + 1)
    except (OSError, EOFError, zlib.error):
        return {}
    if len(data) > readers.MAX_JSON:
        return {}
    try:
        value, odd = _marked(data)
    except (ValueError, RecursionError):  # lines after all?
        found = {number: of_line(line) for number, line in enumerate(data.split(b"\n"), 1)}
        return {number: notes for number, notes in found.items() if notes}
    rows = readers.rows_of(value) if odd else None
    if rows is None:
        return {}
    found = {number: _notes(row) for number, row in enumerate(rows, 1)}
    if not (len(rows) == 1 and rows[0] is value):
        found[0] = _notes(value, but=rows)
    return {number: notes for number, notes in found.items() if notes}


def _marked(data: bytes) -> tuple[Any, bool]:
    """The JSON value, with `_Twice` and `_Constant` where something is odd; whether anything is."""
    odd: list[bool] = []

    def made(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        odd.append(True)
        marked = _Twice(value)
        marked.pairs = pairs
        return marked

    def constant(name: str) -> _Constant:
        odd.append(True)
        return _Constant(name)

    text = data.decode("utf-8-sig")
    return json.loads(text, object_pairs_hook=made, parse_constant=constant), bool(odd)


def _notes(value: Any, but: Any = None) -> list[Note]:
    """Of every object in `value`, in the order of the text, but not of what is in `but`."""
    notes: list[Note] = []
    constants: list[str] = []
    left = [value]
    while left:
        each = left.pop()
        if each is but:
            continue
        if isinstance(each, _Constant):
            constants.append(each.name)
        elif isinstance(each, list):
            left += reversed(each)
        elif isinstance(each, dict):
            pairs = each.pairs if isinstance(each, _Twice) else each.items()
            left += reversed([inner for _, inner in pairs])
        if isinstance(each, _Twice):
            counts = Counter(key for key, _ in each.pairs)
            for key in (key for key, count in counts.items() if count > 1):
                notes.append(("duplicate key", f"key '{key}' is given twice: the last one counts"))
    if constants:
        notes.append(("not strict JSON", f"{constants[0]} is not JSON; other programs refuse it"))
    return notes

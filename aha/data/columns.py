"""From a row, however its columns are named, to a Prompt, or to a reason why not.

The names that public data sets use are known; which column became what is returned as a mapping,
to be shown. Query keys name columns outright; a dotted name reaches into nested objects.

Holds not: reading files (`readers.py`), counting and deciding when a source is too broken
(`sources.py`), judging answers.
"""

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.data.readers import BadRow, Row
from aha.errors import DataError
from aha.records import Prompt

KNOWN: dict[str, tuple[str, ...]] = {
    "question": ("question", "problem", "prompt", "query", "instruction"),
    "gold": (
        "gold",
        "ground_truth",
        "final_answer",
        "answer",
        "target",
        "reward_model.ground_truth",
        "solution",
    ),
    "id": ("id", "unique_id"),
    "kind": ("kind",),
    "lang": ("lang", "language"),
    "domain": ("domain", "subject", "source", "level", "data_source"),
}
"""Column names by role; of several, the first that most rows have is taken."""
REQUIRED = ("question", "gold")
KINDS = ("math", "exact", "countdown")
"""Graders that a row may ask for."""

_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")


class Unusable(Exception):
    """Why a row cannot be used: (column, reason)."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column plays which role, and what the query fixed for all rows."""

    mapping: dict[str, str]
    """Role -> column, for the roles that a column plays."""
    kind: str = ""
    """Overrides the rows' kind; "" takes theirs, or math."""
    lang: str = ""
    """Overrides the rows' language."""

    def prompt(self, row: Row, *, spare_id: str, source: str) -> Prompt | BadRow:
        """The row as a Prompt; `spare_id` is used if it has no id of its own."""
        try:
            question = self._question(row.value)
            kind = self.kind or self._word(row.value, "kind") or "math"
            if kind not in KINDS:
                raise Unusable(
                    self.mapping.get("kind", ""), f"no grader for kind '{kind}' ({_listed(KINDS)})"
                )
            return Prompt(
                id=self._word(row.value, "id") or spare_id,
                question=question,
                gold=self._gold(row.value, kind),
                kind=kind,
                source=source,
                lang=self.lang or self._word(row.value, "lang"),
                domain=self._word(row.value, "domain"),
                columns={
                    name: _plain(value)
                    for name, value in row.value.items()
                    if name not in self.mapping.values()
                },
            )
        except Unusable as why:
            column, reason = why.args
            return BadRow(row.file, row.line, reason, column)
        except RecursionError:
            return BadRow(row.file, row.line, "nested too deeply")

    def _question(self, value: Mapping[str, Any]) -> str:
        column = self.mapping["question"]
        asked = _reach(value, column)
        if isinstance(asked, (list, tuple)):
            asked = _last_user_message(asked, column)
        return _text(asked, column)

    def _gold(self, value: Mapping[str, Any], kind: str) -> str:
        column = self.mapping["gold"]
        gold = _reach(value, column)
        if isinstance(gold, (list, tuple)) and len(gold) == 1:
            gold = gold[0]
        if kind == "countdown" and isinstance(gold, dict):
            return json.dumps(_plain(gold), ensure_ascii=False)
        text = _text(_number(gold, column), column)
        return final_answer(text) if kind == "math" else text

    def _word(self, value: Mapping[str, Any], role: str) -> str:
        """A short optional text; a missing or null one is ""."""
        column = self.mapping.get(role)
        found = _reach(value, column, missing=None) if column else None
        if column is None or found is None or found == "":
            return ""
        return _text(_number(found, column), column)


def choose(
    rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, str], *, where: str
) -> dict[str, str]:
    """The mapping role -> column, from a sample of rows and the columns that the query names.

    Raises:
        DataError: a named column is not there, or no column can be question or gold.
    """
    mapping: dict[str, str] = {}
    there = sorted({name for row in rows for name in row})
    for role, candidates in KNOWN.items():
        if column := chosen.get(role, ""):
            if not any(_has(row, column) for row in rows):
                near = difflib.get_close_matches(column, there, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"columns: {_listed(there)}"
                raise DataError(f"{where}: no column '{column}' for {role}; {hint}")
            mapping[role] = column
            continue
        taken = set(mapping.values()) | set(chosen.values())
        counts = {
            name: sum(_has(row, name) for row in rows) for name in candidates if name not in taken
        }
        usual = [name for name, count in counts.items() if 2 * count >= len(rows) and count]
        seldom = [name for name, count in counts.items() if count]
        if usual or seldom:
            mapping[role] = (usual or seldom)[0]
        elif role in REQUIRED:
            raise DataError(
                f"{where}: no column is known to hold the {role}; columns: {_listed(there)}. "
                f"Name it: ?{role}=COLUMN (known names: {_listed(candidates)})"
            )
    return mapping


def final_answer(gold: str) -> str:
    """The answer at the end of a worked solution; other text comes back as it is.

    `... #### 1,234` gives 1234 (GSM8K); a text with \\boxed{} gives what is in the last one (MATH).
    """
    if "####" in gold:
        last = gold.rsplit("####", 1)[1].strip()
        last = last.replace(",", "") if _GROUPED.fullmatch(last) else last
        return last or gold
    start = gold.rfind("\\boxed{")
    if start >= 0:
        depth = 0
        for end in range(start + len("\\boxed"), len(gold)):
            depth += {"{": 1, "}": -1}.get(gold[end], 0)
            if depth == 0:
                return gold[start + len("\\boxed{") : end].strip() or gold
    return gold


def has_system(value: Any) -> bool:
    """Whether a list of messages holds a system message."""
    return isinstance(value, (list, tuple)) and any(
        isinstance(message, dict) and message.get("role") == "system" for message in value
    )


def _last_user_message(messages: Sequence[Any], column: str) -> Any:
    """The one question of a conversation; its system message is not part of the question."""
    if not messages:
        raise Unusable(column, "empty list of messages")
    if not all(isinstance(message, dict) and "role" in message for message in messages):
        raise Unusable(column, "a list, but not of messages with role and content")
    turns = [message for message in messages if message["role"] != "system"]
    roles = [str(message["role"]) for message in turns]
    if roles != ["user"]:
        raise Unusable(
            column, f"several turns or none ({_listed(roles)}): one user message is needed"
        )
    content = turns[0].get("content")
    if isinstance(content, (list, tuple)):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise Unusable(column, "a message with parts that are not text")
        content = "".join(str(part.get("text") or "") for part in content)
    return content


_RAISE = object()
_ABSENT = object()


def _reach(value: Mapping[str, Any], column: str, *, missing: Any = _RAISE) -> Any:
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


def _has(row: Mapping[str, Any], column: str) -> bool:
    return _reach(row, column, missing=_ABSENT) is not _ABSENT


def _number(value: Any, column: str) -> Any:
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


def _text(value: Any, column: str) -> str:
    """Usable text, stripped of outer white space.

    Raises:
        Unusable: wrong type, empty, a NUL byte, a lone surrogate.
    """
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise Unusable(column, f"wrong type: {kind}, text is needed")
    value = value.strip()
    if not value:
        raise Unusable(column, "empty")
    if "\0" in value:
        raise Unusable(column, "NUL byte")
    if not value.isascii():
        for place, sign in enumerate(value):
            if "\udc80" <= sign <= "\udcff":
                raise Unusable(column, f"invalid UTF-8 or lone surrogate at character {place + 1}")
            if "\ud800" <= sign <= "\udfff":
                raise Unusable(column, f"lone surrogate at character {place + 1}")
    return value


def _plain(value: Any) -> Any:
    """What JSON can hold; other values as text, raw bytes as their number."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    return str(value)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown}, ..." if len(names) > 12 else shown

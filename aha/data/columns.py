"""From a row, however its columns are named, to a Prompt, or to a reason why not.

The names that public data sets use are known; which column became what is returned as a mapping,
to be shown. Query keys name columns outright; a dotted name reaches into nested objects. Rows with
tests, options, or names of knights and knaves are told by their columns (`bind`).

Holds not: reading files (`readers.py`), what a kind makes of its row (`code_rows.py`, `choice_rows.py`,
`value_rows.py`), counting and deciding when a source is too broken (`sources.py`), judging answers.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha.data import cells, choice_rows, code_rows, open_rows, query, value_rows
from aha.data.areas import AREAS
from aha.data.cells import Made, Unusable
from aha.data.readers import BadRow, Row
from aha.data.value_rows import final_answer
from aha.errors import ConfigError, DataError
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
KINDS = ("math", "exact", "countdown", "code", "choice", "numeric", "knights", "code_io", "open")
"""Graders that a row may ask for."""

Fits = Callable[[Mapping[str, Any], str], bool]
_OF_KIND: dict[str, tuple[tuple[str, ...], tuple[str, ...], Fits]] = {
    "code": (code_rows.QUESTIONS, code_rows.GOLDS, code_rows.fits),
    "choice": (KNOWN["question"], choice_rows.GOLDS, choice_rows.fits),
    "knights": (KNOWN["question"], value_rows.KNIGHTS, value_rows.fits_knights),
    "open": ((*KNOWN["question"], "chosen"), open_rows.GOLDS, cells.has),
}
"""By kind: columns that may hold question and gold, and whether one does hold such a gold."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column plays which role, and what the query fixed for all rows."""

    mapping: dict[str, str]
    """Role -> column, for the roles that a column plays."""
    kind: str = ""
    """Overrides the rows' kind; "" takes theirs, or `found`, or math."""
    lang: str = ""
    """Overrides the rows' language."""
    found: str = ""
    """The kind that the columns show; "" if they show none."""
    tolerance: float | None = None
    """Relative, of numeric golds whose row names none."""
    shuffle: bool = False
    """Put the options of a choice into an order that the problem's id decides."""
    area: str = ""
    """The domain of all rows, one of areas.AREAS; "" takes theirs."""

    def prompt(self, row: Row, *, spare_id: str, source: str) -> Prompt | BadRow:
        """The row as a Prompt; `spare_id` is used if it has no id of its own."""
        try:
            kind = self.kind or self._word(row.value, "kind") or self.found or "math"
            if kind not in KINDS:
                raise Unusable(
                    self.mapping.get("kind", ""),
                    f"no grader for kind '{kind}' ({cells.listed(KINDS)})",
                )
            question = self._question(row.value, kind)
            own_id = self._word(row.value, "id") or spare_id
            made = self._made(row.value, kind, question, own_id)
            return Prompt(
                id=own_id,
                question=made.question,
                gold=made.gold,
                kind=kind,
                source=source,
                lang=self.lang or self._word(row.value, "lang"),
                domain=self.area or self._word(row.value, "domain"),
                columns={
                    name: cells.plain(value)
                    for name, value in row.value.items()
                    if name not in self.mapping.values() and name not in made.used
                },
            )
        except Unusable as why:
            column, reason = why.args
            return BadRow(row.file, row.line, reason, column)
        except RecursionError:
            return BadRow(row.file, row.line, "nested too deeply")

    def worked(self, prompt: Prompt, row: Row) -> Prompt:
        """The problem with the text that its gold was taken from, where that is a worked solution."""
        column = self.mapping.get("gold", "")
        text = cells.reach(row.value, column, missing=None) if column else None
        if prompt.kind != "math" or not isinstance(text, str) or text.strip() == prompt.gold:
            return prompt
        return replace(prompt, columns={"worked_solution": text} | dict(prompt.columns))

    def note(self) -> str:
        """What a user should know of the kind that was found; "" if none was."""
        if not self.found:
            return ""
        return f"kind {self.found}, told by the columns; kind= names another"

    def _question(self, value: Mapping[str, Any], kind: str) -> str:
        column = self.mapping["question"]
        asked = cells.reach(value, column)
        if kind == "open":
            return open_rows.question(asked, column)
        if isinstance(asked, (list, tuple)):
            asked = _last_user_message(asked, column)
        return cells.text(asked, column)

    def _made(self, value: Mapping[str, Any], kind: str, question: str, own_id: str) -> Made:
        gold = self.mapping.get("gold", "")
        if kind == "open":
            return Made(question, self._word(value, "gold"))
        if not gold:
            raise Unusable("", f"no column holds the gold of kind '{kind}'; name it: ?gold=COLUMN")
        if kind == "code":
            lang = self.lang or self._word(value, "lang")
            asked = self.mapping["question"]
            return code_rows.read(value, question, asked=asked, gold=gold, lang=lang)
        if kind == "choice":
            return choice_rows.read(value, question, gold=gold, seed=own_id, shuffle=self.shuffle)
        if kind == "numeric":
            return value_rows.numeric(value, question, gold=gold, tolerance=self.tolerance)
        if kind == "knights":
            return value_rows.knights(value, question, gold=gold)
        if kind == "code_io":
            return value_rows.code_io(value, question, gold=gold)
        return Made(question, self._gold(value, kind))

    def _gold(self, value: Mapping[str, Any], kind: str) -> str:
        column = self.mapping["gold"]
        gold = cells.reach(value, column)
        if isinstance(gold, (list, tuple)) and len(gold) == 1:
            gold = gold[0]
        if kind == "countdown" and isinstance(gold, dict):
            return json.dumps(cells.plain(gold), ensure_ascii=False)
        text = cells.text(cells.number(gold, column), column)
        return final_answer(text) if kind == "math" else text

    def _word(self, value: Mapping[str, Any], role: str) -> str:
        """A short optional text; a missing or null one is ""."""
        column = self.mapping.get(role)
        found = cells.reach(value, column, missing=None) if column else None
        if column is None or found is None or found == "":
            return ""
        return cells.text(cells.number(found, column), column)


def fixed(keys: Mapping[str, str], *, where: str) -> Columns:
    """What the keys of a source fix for all its rows; the columns are not known yet.

    Raises:
        ConfigError: a value that cannot be, or keys of different kinds.
    """
    kind = keys.get("kind", "")
    if kind and kind not in KINDS:
        raise ConfigError(f"{where}: kind={kind}: write {', '.join(KINDS)}")
    tolerance = None
    if "tolerance" in keys:
        tolerance = query.number(keys["tolerance"], where=f"{where}?tolerance")
        if not 0 <= tolerance < 1:
            raise ConfigError(f"{where}?tolerance={tolerance:g}: write a share from 0 to below 1")
        if kind not in ("", "numeric"):
            raise ConfigError(f"{where}: tolerance= is for kind=numeric, not for kind={kind}")
        kind = "numeric"
    shuffle = query.truth(keys.get("shuffle", "false"), where=f"{where}?shuffle")
    if shuffle and kind not in ("", "choice"):
        raise ConfigError(f"{where}: shuffle= is for kind=choice, not for kind={kind}")
    area = keys.get("area", "")
    if area and area not in AREAS:
        raise ConfigError(f"{where}: area={area}: write {', '.join(AREAS)}")
    if area and "domain" in keys:
        raise ConfigError(f"{where}: area= is the domain of all rows, domain= a column: give one")
    lang = keys.get("lang", "")
    return Columns({}, kind, lang, tolerance=tolerance, shuffle=shuffle, area=area)


def bind(rows: Sequence[Mapping[str, Any]], keys: Mapping[str, str], *, where: str) -> Columns:
    """How the rows of a file become problems, from a sample of them and the keys of the source.

    The kind is that of the keys, else of the rows' column, else what most rows show: tests (code),
    names and who is a knight (knights), a form of code_io, options of which one is right (choice).

    Raises:
        DataError, ConfigError: see `choose` and `fixed`.
    """
    made = fixed(keys, where=where)
    named = {role: keys.get(role, "") for role in ("question", "gold", "domain", "id")}
    declared = [row["kind"] for row in rows if isinstance(row.get("kind"), str)]
    found = "" if made.kind or declared else _shown(rows, named["gold"])
    kind = made.kind or found or (max(declared, key=declared.count) if declared else "")
    return replace(made, mapping=choose(rows, named, where=where, kind=kind), found=found)


def _shown(rows: Sequence[Mapping[str, Any]], gold: str) -> str:
    """The kind that at least half of the rows show by their columns, or ""."""

    def any_of(fits: Fits, names: Sequence[str], row: Mapping[str, Any]) -> bool:
        return any(fits(row, name) for name in ([gold] if gold else names) if cells.has(row, name))

    def is_code_io(row: Mapping[str, Any], name: str) -> bool:
        return value_rows.is_code_io(cells.reach(row, name))

    shown: dict[str, Callable[[Mapping[str, Any]], bool]] = {
        "code": lambda row: any_of(code_rows.fits, code_rows.GOLDS, row),
        "knights": lambda row: gold in ("", "solution") and value_rows.is_knights(row),
        "code_io": lambda row: any_of(is_code_io, ("gold", "ground_truth"), row),
        "choice": lambda row: (
            choice_rows.has_options(row) and any_of(choice_rows.fits, choice_rows.GOLDS, row)
        ),
    }
    for kind, is_one in shown.items():
        count = sum(is_one(row) for row in rows)
        if count and 2 * count >= len(rows):
            return kind
    return ""


def choose(
    rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, str], *, where: str, kind: str = ""
) -> dict[str, str]:
    """The mapping role -> column, from a sample of rows and the columns that the query names.

    Raises:
        DataError: a named column is not there, or no column can be question or gold.
    """
    mapping: dict[str, str] = {}
    there = sorted({name for row in rows for name in row})
    questions, golds, fits = _OF_KIND.get(kind, (KNOWN["question"], KNOWN["gold"], cells.has))
    for role, candidates in {**KNOWN, "question": questions, "gold": golds}.items():
        if column := chosen.get(role, ""):
            if not any(cells.has(row, column) for row in rows):
                near = difflib.get_close_matches(column, there, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"columns: {cells.listed(there)}"
                raise DataError(f"{where}: no column '{column}' for {role}; {hint}")
            mapping[role] = column
            continue
        taken = set(mapping.values()) | set(chosen.values())
        free = [name for name in candidates if name not in taken]
        best = (role == "gold" and _usual(rows, free, fits)) or _usual(rows, free, cells.has)
        if best:
            mapping[role] = best
        elif role in REQUIRED and (role, kind) != ("gold", "open"):
            raise DataError(
                f"{where}: no column is known to hold the {role}; columns: {cells.listed(there)}. "
                f"Name it: ?{role}=COLUMN (known names: {cells.listed(candidates)})"
            )
    return mapping


def _usual(rows: Sequence[Mapping[str, Any]], names: Sequence[str], fits: Fits) -> str:
    """The first column that fits in at least half of the rows, else the first that fits in any."""
    counts = {name: sum(fits(row, name) for row in rows) for name in names}
    usual = [name for name, count in counts.items() if 2 * count >= len(rows) and count]
    seldom = [name for name, count in counts.items() if count]
    return next(iter(usual or seldom), "")


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
            column, f"several turns or none ({cells.listed(roles)}): one user message is needed"
        )
    content = turns[0].get("content")
    if isinstance(content, (list, tuple)):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise Unusable(column, "a message with parts that are not text")
        content = "".join(str(part.get("text") or "") for part in content)
    return content

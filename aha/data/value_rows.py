"""Golds that are more than a text: numbers with a tolerance, knights and knaves, what a program gives.

    numeric   3.14, or {"value": 3.14, "rel": 0.01, "abs": 0.05}; `tolerance` is rel
    knights   {"names": [...], "solution": [true, ...]} (true: knight), those two columns, or lines
              "(1) Zoey is a knight"
    code_io   {"form": "output", "value": "[1, 2]"}, {"form": "input", "code", "entry", "value"}, or
              the value alone

Holds not: the graders of these kinds (rewards/), the questions, which stay as they are.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aha.data import cells
from aha.data.cells import Made, Unusable
from aha.rewards.code_io import MAX_CHARS, read_task
from aha.rewards.tokens import Unreadable
from aha.rewards.tolerance import read_target

KNIGHTS = ("solution", "gold", "answer")
"""Columns that may hold who is a knight, the best first."""
PEOPLE = 26
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_LINE = re.compile(r"(?:\(\d{1,2}\) ?)?(\S.{0,60}?) is an? (knight|knave)\.?")


def is_knights(row: Mapping[str, Any]) -> bool:
    """Whether a row says in `names` and `solution` who is a knight."""
    try:
        _people(row.get("names"), row.get("solution"), "solution")
    except Unusable:
        return False
    return True


def fits_knights(row: Mapping[str, Any], column: str) -> bool:
    """Whether a column says, with `names` beside it or alone, who is a knight."""
    try:
        knights(row, "", gold=column)
    except Unusable:
        return False
    return True


def is_code_io(gold: Any) -> bool:
    gold = cells.data(gold)
    return isinstance(gold, Mapping) and gold.get("form") in ("output", "input")


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


# -- numeric --------------------------------------------------------------------------------------


def numeric(row: Mapping[str, Any], question: str, *, gold: str, tolerance: float | None) -> Made:
    """The gold with its tolerance: that of the row's column `tolerance`, else the one given.

    Raises:
        Unusable: no number, or a tolerance that cannot be.
    """
    found = cells.data(cells.reach(row, gold))
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    used = frozenset[str]()
    if isinstance(found, Mapping):
        made = {
            name: found[name] for name in ("value", "rel", "abs") if found.get(name) is not None
        }
        value = cells.text(cells.number(made.pop("value", None), gold), gold)
    else:
        made = {}
        value = final_answer(cells.text(cells.number(found, gold), gold))
        if row.get("tolerance") not in (None, ""):
            made["rel"], used = row["tolerance"], frozenset({"tolerance"})
        elif tolerance is not None:
            made["rel"] = tolerance
    bounds = {name: tolerance_of(part, name, gold) for name, part in made.items()}
    if not bounds:
        return Made(question, value, used)
    target = json.dumps({"value": _as_number(value), **bounds}, ensure_ascii=False)
    try:
        read_target(target)
    except (Unreadable, ArithmeticError, RecursionError) as error:
        said = f"tolerance: {value[:40]!r} is no number to be near to ({error})"
        raise Unusable(gold, said) from None
    return Made(question, target, used)


def tolerance_of(found: Any, name: str, column: str) -> float:
    """A bound of 0 or more; a relative one is below 1.

    Raises:
        Unusable: anything else.
    """
    try:
        bound = math.nan if isinstance(found, bool) else float(found)
    except (TypeError, ValueError, OverflowError):
        bound = math.nan
    if not 0 <= bound < (1 if name == "rel" else math.inf):
        said = "0 to below 1" if name == "rel" else "0 or more"
        raise Unusable(column, f"tolerance: {name} is {str(found)[:40]!r}, {said} is needed")
    return bound


def _as_number(value: str) -> int | float | str:
    """A plain decimal as a number; other writings (3/4, 5 km) stay text, which the grader reads."""
    plain = value.replace(",", "")
    try:
        number = int(plain) if plain.lstrip("+-").isdigit() else float(plain)
    except (ValueError, OverflowError):
        return value
    return number if math.isfinite(number) else value


# -- knights --------------------------------------------------------------------------------------


def knights(row: Mapping[str, Any], question: str, *, gold: str) -> Made:
    """Who is a knight.

    Raises:
        Unusable: not one of two for each name.
    """
    found = cells.data(cells.reach(row, gold))
    used = frozenset[str]()
    if isinstance(found, Mapping):
        names, solution = found.get("names"), found.get("solution")
    elif isinstance(found, str):
        lines = [_LINE.fullmatch(line.strip()) for line in found.strip().splitlines()[: PEOPLE + 1]]
        said = [line for line in lines if line is not None]
        if len(said) != len(lines) or not said:
            raise Unusable(gold, "knights: no lines of the form 'NAME is a knight'")
        names, solution = [line[1] for line in said], [line[2] == "knight" for line in said]
    else:
        names, solution, used = row.get("names"), found, frozenset({"names"})
    return Made(question, _people(names, solution, gold), used)


def _people(names: Any, solution: Any, column: str) -> str:
    if not isinstance(names, list) or not isinstance(solution, list):
        raise Unusable(column, "knights: a list of names and a list of true and false are needed")
    if not 1 <= len(names) == len(solution) <= PEOPLE:
        said = f"knights: {len(names)} names and {len(solution)} answers, 1 to {PEOPLE} are needed"
        raise Unusable(column, said)
    if not all(isinstance(part, bool) for part in solution):
        raise Unusable(column, "knights: the solution must be true or false for each name")
    people = [cells.text(name, column) for name in names]
    if len({name.casefold() for name in people}) != len(people):
        raise Unusable(column, "knights: one name comes twice")
    return json.dumps({"names": people, "solution": solution}, ensure_ascii=False)


# -- code_io --------------------------------------------------------------------------------------


def code_io(row: Mapping[str, Any], question: str, *, gold: str) -> Made:
    """What a program gives, or what it must be given.

    Raises:
        Unusable: not one of the two forms, or no Python literal.
    """
    found = cells.reach(row, gold)
    if isinstance(found, Mapping) and not is_code_io(found):
        raise Unusable(gold, "tests: needs form: output or input")
    if not is_code_io(found):
        found = {"form": "output", "value": cells.number(found, gold)}
    found = cells.data(found)
    value = found.get("value")
    made = {"form": found["form"], "value": value if isinstance(value, str) else _python(value)}
    made |= {name: found.get(name) for name in ("code", "entry") if found["form"] == "input"}
    made = {name: cells.text(part, gold) for name, part in made.items()}
    if len(made["value"]) > MAX_CHARS:
        raise Unusable(gold, f"tests: the value has more than {MAX_CHARS} characters")
    target = json.dumps(made, ensure_ascii=False)
    try:
        read_task(target)
    except ValueError as error:
        raise Unusable(gold, f"tests: {error}") from None
    return Made(question, target)


def _python(found: Any) -> Any:
    """A value of JSON as Python writes it; what is no data is left to be refused."""
    return repr(found) if isinstance(found, bool | int | float | Sequence | Mapping) else found

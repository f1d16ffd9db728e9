"""The grader of kind "code_io": what a program returns, or an input for which it returns that.

    {"form": "output", "value": "[1, 2]"}                                 the answer is a Python literal
    {"form": "input", "code": "def f(x): ...", "entry": "f", "value": "5"}  the answer is what stands
                                                                            between the brackets of f(...)
Literals are compared type by type: True is not 1, a tuple is not a list; an integer and a float of one
value are the same. Form "input" runs the program of the data set on the answer's literals in the
sandbox and compares outside; any input that gives the value is right.

Must stay true: a text is read with ast.literal_eval under caps of length and nesting, never run.
"""

import ast
import json
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aha.errors import RunError
from aha.records import Grade
from aha.rewards import code
from aha.rewards.answer import Extracted
from aha.sandbox import plain
from aha.sandbox.box import Sandbox
from aha.sandbox.calls import CallFailed, Calls
from aha.sandbox.types import Limits

MAX_CHARS = 4096
MAX_NESTING = 50
SECONDS = 5.0
"""For one call; as much again for loading the program."""
MEMORY_MB = 256
_ESCAPED = re.compile(r"\\([{}_#%&$])")
_FENCED = re.compile(r"(`{1,3})(?:(?:python|py)?\s*\n)?(.*?)\1", re.DOTALL)
_WRAPPED = re.compile(r"\\(?:text(?:tt)?|mathtt|mathrm|verb)\s*\{(.*)\}", re.DOTALL)


class NotLiteral(ValueError):
    """A text that is no Python literal, or over a cap: too_long, too_deep, not_a_literal."""


@dataclass(frozen=True, slots=True)
class Task:
    form: str
    value: Any
    code: str = ""
    entry: str = ""


def grade_code_io(gold: str, found: Extracted) -> Grade:
    """Verdict on a predicted output or input.

    wrong: wrong_value, or how the call failed. unparsed: not_a_literal, too_long, too_deep. error: a gold
    that is not as above, a program that does not load, no sandbox.
    """
    answer = found.text
    if answer is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    try:
        task = read_task(gold)
    except ValueError as error:
        return _grade("error", f"gold_unparsed: {error}", answer)
    try:
        if task.form == "output":
            right = alike(read_literal(answer), task.value)
            return (
                _grade("correct", "equal", answer)
                if right
                else _grade("wrong", "wrong_value", answer)
            )
        args, named = read_arguments(answer, task.entry)
    except NotLiteral as error:
        return _grade("unparsed", str(error), answer[:MAX_CHARS])
    try:
        return _called(code.start_sandbox(), task, args, named, answer)
    except RunError as error:
        code.forget_sandbox()
        return _grade("error", f"no_sandbox: {error}", answer)


def needs_sandbox(gold: str) -> bool:
    """Whether judging such an answer runs a program."""
    try:
        return read_task(gold).form == "input"
    except ValueError:
        return False


def patience_of(gold: str) -> float | None:
    """Seconds that one try may take; None: nothing is run, the pool's own deadline holds."""
    return 2 * SECONDS + code.SPARE_SECONDS if needs_sandbox(gold) else None


@lru_cache(maxsize=512)
def read_task(gold: str) -> Task:
    """The task of a gold.

    Raises:
        ValueError: says what is wrong with it.
    """
    try:
        fields = json.loads(gold)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(fields, dict) or fields.get("form") not in ("output", "input"):
        raise ValueError("needs form: output or input")
    if not isinstance(fields.get("value"), str):
        raise ValueError("value: the text of a Python literal")
    try:
        value = _literal(fields["value"], limit=1 << 16)
    except NotLiteral as error:
        raise ValueError(f"value: {error}") from None
    if fields["form"] == "output":
        return Task("output", value)
    source, entry = fields.get("code"), fields.get("entry")
    if not isinstance(source, str) or not source.strip():
        raise ValueError("code: the text of a program")
    if not isinstance(entry, str) or not entry.isidentifier():
        raise ValueError("entry: the name of its function")
    return Task("input", value, source, entry)


def read_literal(text: str) -> Any:
    """The value of a Python literal, bare, fenced or in a LaTeX text command.

    Raises:
        NotLiteral: it is none, or over a cap.
    """
    last = NotLiteral("not_a_literal")
    for written in _spellings(text):
        try:
            return _literal(written)
        except NotLiteral as error:
            last = error
    raise last


def read_arguments(text: str, entry: str) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments of `f(1, [2], k=3)`, or of what stands between its brackets.

    `(1, 2)` is one argument, a tuple.

    Raises:
        NotLiteral: an argument is no literal, or the text is over a cap.
    """
    last = NotLiteral("not_a_literal")
    for written in _spellings(text):
        call = re.fullmatch(rf"\s*{re.escape(entry)}\s*\((.*)\)\s*", written, re.DOTALL)
        for inside in [*([call.group(1)] if call else []), written]:
            try:
                return _arguments(inside)
            except NotLiteral as error:
                last = error
    raise last


def alike(found: Any, expected: Any) -> bool:
    """Equal type by type, in sets and keys too, where Python takes True for 1."""
    return plain.same(found, expected) and _typed(found) == _typed(expected)


def _typed(value: Any) -> Any:
    """A value with its types spelled out, as something hashable."""
    kind = type(value)
    if kind in (int, float):
        return ("number", value)
    if kind in (list, tuple):
        return (kind.__name__, tuple(_typed(item) for item in value))
    if kind in (set, frozenset):
        return (kind.__name__, frozenset(_typed(item) for item in value))
    if kind is dict:
        return ("dict", frozenset((_typed(k), _typed(v)) for k, v in value.items()))
    if value is None or kind in (bool, str, bytes, complex, type(...)):
        return (kind.__name__, value)
    return ("no literal", id(value))


def _called(
    sandbox: Sandbox, task: Task, args: list[Any], named: dict[str, Any], answer: str
) -> Grade:
    limits = Limits(seconds=2 * SECONDS, memory_mb=MEMORY_MB)
    try:
        calls = Calls(sandbox, task.code, limits=limits, seconds=SECONDS)
    except CallFailed as error:
        return _grade("error", f"gold_unparsed: the program: {error.status}: {error}", answer)
    with calls:
        try:
            right = alike(calls.call(task.entry, args, named), task.value)
        except CallFailed as error:
            return _grade("wrong", f"{error.status}: {error.reason}", answer)
        except plain.NotPlain as error:
            return _grade("unparsed", f"not_a_literal: {error}", answer)
    return _grade("correct", "equal", answer) if right else _grade("wrong", "wrong_value", answer)


def _spellings(text: str) -> list[str]:
    """The text, out of a fence or text command; then with LaTeX's escapes undone."""
    if len(text) > MAX_CHARS:
        raise NotLiteral("too_long")
    text = text.strip().strip("$").strip()
    if fenced := _FENCED.fullmatch(text):
        text = fenced.group(2).strip()
    found = [text]
    if wrapped := _WRAPPED.fullmatch(text):
        found.append(wrapped.group(1).strip())
    return found + [_ESCAPED.sub(r"\1", one) for one in found if "\\" in one]


def _literal(text: str, limit: int = MAX_CHARS) -> Any:
    return _evaluated(_parsed(text.strip(), limit).body)


def _arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    call = _parsed(f"_({text.strip()})", MAX_CHARS + 3).body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "_":
        raise NotLiteral("not_a_literal")  # the text closed the bracket itself
    args = [_evaluated(arg) for arg in call.args]
    named = {keyword.arg: _evaluated(keyword.value) for keyword in call.keywords}
    if None in named or len(named) < len(call.keywords):
        raise NotLiteral("not_a_literal")
    return args, {str(name): value for name, value in named.items()}


def _parsed(text: str, limit: int) -> ast.Expression:
    if len(text) > limit:
        raise NotLiteral("too_long")
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        raise NotLiteral("too_deep")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise NotLiteral("not_a_literal") from None


def _evaluated(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise NotLiteral("not_a_literal") from None


def _grade(status: Any, reason: str, answer: str) -> Grade:
    score = 1.0 if status == "correct" else 0.0
    return Grade(status=status, score=score, reason=reason, extracted=answer)

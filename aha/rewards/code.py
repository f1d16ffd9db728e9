"""Programs and functions, judged by hidden tests that never enter the process that runs them.

Gold is JSON, one of
    {"form": "stdio", "cases": [{"input", "output"}]}           a fresh jail for each, compared here
    {"form": "call", "entry": "add", "cases": [{"args", "expected"}]}   "named" may be there too
    {"form": "assert", "entry": "add", "setup": "", "code": "assert add(1, 2) == 3"}
and may set "seconds" (of one test), "total_seconds", "memory_mb", "tolerance" (relative, of floats) and
"fraction" (score the share of tests passed; only full marks are "correct" all the same). Without tests
an answer is not gradable: never passed.

The answer is the last fenced block after the thinking, or the answer tag. Runs in a grader process.
"""

import json
import math
import os
import re
import textwrap
from dataclasses import dataclass
from typing import Any

from aha.errors import RunError
from aha.records import Grade
from aha.rewards.answer import Extracted
from aha.sandbox import plain
from aha.sandbox.box import Sandbox
from aha.sandbox.calls import CallFailed, Calls, run_tests
from aha.sandbox.types import Limits, Outcome

MAX_PROGRAM = 64_000
"""Characters; a longer program is refused."""
MAX_CASES = 500
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n", re.MULTILINE)
_LANGUAGES = ("", "python", "py", "python3")


class BadTests(ValueError):
    """The gold of a problem cannot be used."""


@dataclass(frozen=True, slots=True)
class Tests:
    form: str
    cases: tuple[dict[str, Any], ...]
    entry: str
    setup: str
    code: str
    seconds: float
    total_seconds: float
    memory_mb: int
    tolerance: float
    fraction: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of all tests of one answer."""

    passed: int
    tests: int
    reason: str
    """Of the first that failed: wrong_output, wrong_value, or how the program ended."""


def read_tests(gold: str) -> Tests:
    """Tests of a problem.

    Raises:
        BadTests: says what is wrong with them.
    """
    try:
        fields = json.loads(gold)
    except ValueError as error:
        raise BadTests(f"not JSON: {error}") from None
    if not isinstance(fields, dict) or fields.get("form") not in ("stdio", "call", "assert"):
        raise BadTests("needs form: stdio, call or assert")
    form = fields["form"]
    cases = fields.get("cases", [])
    wanted = {"stdio": ("input", "output"), "call": ("args", "expected"), "assert": ()}[form]
    if form == "assert":
        if not str(fields.get("code", "")).strip():
            raise BadTests("no tests")
    elif not isinstance(cases, list) or not cases or len(cases) > MAX_CASES:
        raise BadTests(f"needs 1 to {MAX_CASES} cases")
    elif not all(isinstance(case, dict) and all(k in case for k in wanted) for case in cases):
        raise BadTests(f"every case needs {' and '.join(wanted)}")
    if form != "stdio" and not isinstance(fields.get("entry", ""), str):
        raise BadTests("entry must be a name")
    if form == "call" and not fields.get("entry"):
        raise BadTests("needs entry, the function's name")
    seconds = _number(fields, "seconds", 5.0, 0.1, 60.0)
    return Tests(
        form=form,
        cases=tuple(cases) if form != "assert" else (),
        entry=fields.get("entry", ""),
        setup=str(fields.get("setup", "")),
        code=str(fields.get("code", "")),
        seconds=seconds,
        total_seconds=_number(fields, "total_seconds", max(20.0, seconds), seconds, 600.0),
        memory_mb=int(_number(fields, "memory_mb", 256, 16, 16_384)),
        tolerance=_number(fields, "tolerance", 0.0, 0.0, 0.1),
        fraction=bool(fields.get("fraction", False)),
    )


def _number(fields: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadTests(f"{name}={value!r}: needs a number from {low:g} to {high:g}")
    return float(value)


def find_program(
    response: str, *, think_tag: str = "think", answer_tag: str = "answer"
) -> Extracted:
    """The program of a response: in the last answer tag after the thinking, else in what follows the
    thinking; there the last fenced block of Python, or in a tag the whole text without a fence."""
    opened, closed = f"<{think_tag}>", f"</{think_tag}>"
    _, mark, part = response.rpartition(closed)
    if not mark:
        part = response
    if opened in part:
        return Extracted(None, "none", "think_open")
    tagged = part.rfind(f"<{answer_tag}>") if answer_tag else -1
    if tagged >= 0:
        inside = part[tagged + len(answer_tag) + 2 :]
        end = inside.find(f"</{answer_tag}>")
        if end < 0:
            return Extracted(None, "answer_tag", "answer_open")
        text, reason = _last_fence(inside[:end])
        if text is None and reason == "no_answer":
            text = textwrap.dedent(inside[:end]).strip()
        return Extracted(text or None, "answer_tag", "" if text else reason or "answer_empty")
    text, reason = _last_fence(part)
    return Extracted(text, "line" if text else "none", "" if text else reason)


def _last_fence(text: str) -> tuple[str | None, str]:
    """The last closed block of Python, or why there is none. A block that is open is not closed by the
    end of the text: the answer was cut."""
    found, at = None, 0
    while match := _FENCE.search(text, at):
        fence = match[1]
        close = re.compile(rf"^[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
        end = close.search(text, match.end())
        if end is None:
            return None, "fence_open"
        if match[2].lower() in _LANGUAGES:
            found = text[match.end() : end.start()]
        at = end.end()
    if found is None or not found.strip():
        return None, "no_answer"
    return found, ""


def same_output(found: str, expected: str, tolerance: float = 0.0) -> bool:
    """Equal word by word, as judges of contests compare; with a tolerance numbers may differ by it."""
    ours, theirs = found.split(), expected.split()
    if len(ours) != len(theirs):
        return False
    return all(
        a == b or (tolerance > 0 and _near(a, b, tolerance))
        for a, b in zip(ours, theirs, strict=True)
    )


_DECIMAL = re.compile(r"[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,3})?")


def _near(a: str, b: str, tolerance: float) -> bool:
    if not (_DECIMAL.fullmatch(a) and _DECIMAL.fullmatch(b)):
        return False
    return math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=tolerance)


def judge_program(sandbox: Sandbox, program: str, tests: Tests) -> Verdict:
    """Run the tests.

    Raises:
        RuntimeError: the sandbox failed twice to start the program: our failure.
        plain.NotPlain, or what the test code raises: the tests' failure.
    """
    if tests.form == "stdio":
        return _stdio(sandbox, program, tests)
    if tests.form == "call":
        return _calls(sandbox, program, tests)
    return _asserts(sandbox, program, tests)


def _stdio(sandbox: Sandbox, program: str, tests: Tests) -> Verdict:
    passed, left, reason = 0, tests.total_seconds, ""
    for number, case in enumerate(tests.cases):
        limits = Limits(seconds=min(tests.seconds, left), memory_mb=tests.memory_mb)
        outcome = sandbox.run(program.encode(), stdin=_text(case["input"]).encode(), limits=limits)
        left -= outcome.seconds
        why = _ended(outcome)
        if not why:
            said = outcome.stdout.decode("utf-8", "replace")
            why = (
                "" if same_output(said, _text(case["output"]), tests.tolerance) else "wrong_output"
            )
        if not why:
            passed += 1
            continue
        reason = reason or f"{why} in test {number + 1} of {len(tests.cases)}"
        if not tests.fraction or left <= 0 or outcome.status == "compile":
            break
    return Verdict(passed, len(tests.cases), reason)


def _ended(outcome: Outcome) -> str:
    """ "" if it ended well, else how."""
    if outcome.status == "never_started":
        raise RuntimeError(f"the sandbox did not start the program: {outcome.reason}")
    return "" if outcome.status == "ok" else outcome.status


def _calls(sandbox: Sandbox, program: str, tests: Tests) -> Verdict:
    passed, reason = 0, ""
    limits = Limits(seconds=tests.total_seconds, memory_mb=tests.memory_mb)
    kind, _, method = tests.entry.partition(".")
    try:
        with Calls(sandbox, program, limits=limits, seconds=tests.seconds) as calls:
            path: list[str | int] = [kind]
            if method:
                path = [calls.call(kind).number, method]
            for number, case in enumerate(tests.cases):
                args, named = _data(case["args"]), case.get("named", {})
                try:
                    value, why = calls.call(path, args, named), ""
                    if not plain.same(_loose(value), _loose(case["expected"]), tests.tolerance):
                        why = "wrong_value"
                except CallFailed as error:
                    why = f"{error.status}: {error.reason}"
                if not why:
                    passed += 1
                    continue
                reason = reason or f"{why} in test {number + 1} of {len(tests.cases)}"
                if not tests.fraction or calls.outcome is not None:
                    break
    except CallFailed as error:
        reason = reason or f"{error.status}: {error.reason}"
    return Verdict(passed, len(tests.cases), reason)


def _data(args: Any) -> list[Any]:
    return list(args) if isinstance(args, list | tuple) else [args]


def _loose(value: Any) -> Any:
    """JSON has no tuples: gold of lists also stands for them, on every level."""
    if isinstance(value, tuple | list):
        return [_loose(item) for item in value]
    if isinstance(value, dict):
        return {key: _loose(item) for key, item in value.items()}
    return value


def _asserts(sandbox: Sandbox, program: str, tests: Tests) -> Verdict:
    limits = Limits(seconds=tests.total_seconds, memory_mb=tests.memory_mb)
    try:
        compile(tests.setup, "setup", "exec")
        compile(tests.code, "tests", "exec")
    except (SyntaxError, ValueError) as error:
        raise BadTests(f"the test code is no Python: {error}") from None
    asked = False
    try:
        with Calls(sandbox, program, limits=limits, seconds=tests.seconds) as calls:
            try:
                run_tests(calls, tests.code, entry=tests.entry, setup=tests.setup)
            finally:
                asked = calls.calls > 0
    except AssertionError:
        return Verdict(0, 1, "wrong_value")
    except CallFailed as error:
        return Verdict(0, 1, f"{error.status}: {error.reason}")
    except (RunError, plain.NotPlain):
        raise
    except Exception as error:
        if not asked:  # it had nothing of the answer's yet
            raise BadTests(f"the test code fails: {type(error).__name__}: {error}") from None
        return Verdict(0, 1, f"wrong_value: {type(error).__name__} in the tests")
    if not asked:
        raise BadTests("the test code calls nothing of the answer")
    return Verdict(1, 1, "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "\n".join(map(str, value))


SPARE_SECONDS = 10.0
"""Beyond the tests' own time: jails that start slowly on a busy machine."""
TIER = "AHA_GRADER_SANDBOX"
"""The environment variable that names the tier in a grader process."""
_sandbox: list[Sandbox] = []


def patience_of(gold: str) -> float:
    """Seconds after which a grader process that has not judged an answer is given up."""
    try:
        return read_tests(gold).total_seconds + SPARE_SECONDS
    except BadTests:
        return SPARE_SECONDS


def start_sandbox() -> Sandbox:
    """This process's own, started once.

    Raises:
        RunError: no tier works here.
    """
    if not _sandbox:
        _sandbox.append(Sandbox(os.environ.get(TIER, "auto"), slots=1))
    return _sandbox[0]


def forget_sandbox() -> None:
    """The next program starts another one: this one has failed."""
    _sandbox.clear()


def grade_code(gold: str, found: Extracted) -> Grade:
    """Verdict on a program. Without a sandbox: status "error", never a verdict."""
    if found.text is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    try:
        tests = read_tests(gold)
    except BadTests as error:
        return _ours(f"gold_unparsed: {error}", found)
    if len(found.text) > MAX_PROGRAM:
        return Grade(status="wrong", score=0.0, reason="too_long", extracted=found.text[:200])
    try:
        verdict = judge_program(start_sandbox(), found.text, tests)
    except RunError as error:
        forget_sandbox()
        return _ours(f"no_sandbox: {error}", found)
    except (BadTests, plain.NotPlain) as error:
        return _ours(f"gold_unparsed: {error}", found)
    right = verdict.passed == verdict.tests
    score = verdict.passed / verdict.tests if tests.fraction else float(right)
    return Grade(
        status="correct" if right else "wrong",
        score=score,
        reason=verdict.reason,
        extracted=found.text,
    )


def _ours(reason: str, found: Extracted) -> Grade:
    return Grade(status="error", score=0.0, reason=reason, extracted=found.text)

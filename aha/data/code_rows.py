"""Rows about programs: from the tests as public data sets write them to question and gold of kind "code".

    {"form": ...}                                     our own gold (rewards/code.py)
    def check(candidate) + column entry_point         HumanEval: the prompt is a stub to be completed
    [assert ..., ...] (+ test_setup_code)             MBPP: the question shows the asserts
    code that calls Solution()                        LeetCode
    {"inputs", "outputs"}, [{"input", "output"}]      CodeContests, Codeforces: standard input and output

Tests never go into the question, but for MBPP's, which its own prompt shows. A row without usable tests
is refused: it is never a problem that anything passes. Test code is trusted (it runs outside the jail),
so use data sets whose tests you would run yourself.

Not covered: problems with several right outputs (one is compared), tests of a function by `fn_name`,
time limits of the contest.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aha.data import cells, language
from aha.data.cells import Made, Unusable
from aha.rewards.code import BadTests, read_tests

FORMS = ("stdio", "call", "assert")
TESTS = (
    "tests",
    "test",
    "test_list",
    "input_output",
    "public_tests",
    "official_tests",
    "public_test_cases",
)
"""Columns that may hold tests."""
GOLDS = ("gold", "ground_truth", "reward_model.ground_truth", *TESTS)
QUESTIONS = ("question", "problem", "prompt", "query", "instruction", "text", "description")
USED = (
    *TESTS,
    "private_tests",
    "generated_tests",
    "private_test_cases",
    "challenge_test_list",
    "test_setup_code",
    "test_imports",
)
"""Columns that do not travel with the problem: reward functions need no tests."""
STUB = "    pass\n"
"""Put after a function's head and docstring, so that it is Python."""
_CONTESTS = ("public_tests", "private_tests", "generated_tests")
_PAIRS = (("inputs", "outputs"), ("input", "output"))
_ASSERTS = re.compile(r"^[ \t]*assert\b|^def check\(", re.MULTILINE)
_TICKS = re.compile("`+")

COMPLETE = {
    "en": "Complete:\n\n{}\n\nWrite the whole function.",
    "zh": "补全：\n\n{}\n\n请写出整个函数。",
}
PASS = {"en": "{}\n\nTests to pass:\n\n{}", "zh": "{}\n\n须通过的测试：\n\n{}"}
PROGRAM = {"en": "{}\n\nWrite a Python program.", "zh": "{}\n\n用 Python 写程序。"}
"""What is added to the question, by language: few words, since a run of ten in two questions counts as
an overlap of training and held-out problems (overlap.py)."""


def fits(row: Mapping[str, Any], column: str) -> bool:
    """Whether a column holds tests in one of the known writings."""
    cell = cells.data(cells.reach(row, column, missing=None))
    if column not in TESTS and isinstance(cell, str | list):
        return False  # a gold may well be a text or a list of other things
    if isinstance(cell, Mapping):
        return cell.get("form") in FORMS or any(
            name in cell for name in ("asserts", "code", "inputs", "input")
        )
    if isinstance(cell, str):
        return _ASSERTS.search(cell) is not None
    if not isinstance(cell, list) or not cell:
        return False
    if all(isinstance(part, str) for part in cell):
        return all(_ASSERTS.search(part) for part in cell)
    return all(isinstance(part, Mapping) and {"input", "output"} <= part.keys() for part in cell)


def read(row: Mapping[str, Any], question: str, *, asked: str, gold: str, lang: str) -> Made:
    """Question and gold; `asked` and `gold` are the columns they are from.

    Raises:
        Unusable: no usable tests.
    """
    cell = cells.data(cells.reach(row, gold))
    lang = "zh" if _chinese(question, lang) else "en"
    if isinstance(cell, Mapping) and "form" in cell:
        made = _own(cell, gold)
    elif isinstance(cell, Mapping) and "asserts" in cell:
        made = _asserts(cell["asserts"], cell.get("setup"), gold)
        question = _showing(question, cell["asserts"], lang)
    elif isinstance(cell, list) and cell and all(isinstance(part, str) for part in cell):
        before = [*_lines(row.get("test_imports")), *_lines(row.get("test_setup_code"))]
        made = _asserts(cell, "\n".join(before), gold)
        question = _showing(question, cell, lang)
    elif isinstance(cell, str) or (isinstance(cell, Mapping) and "code" in cell):
        code = cell if isinstance(cell, str) else cell["code"]
        made, stub = _code(code, row, asked, gold)
        if stub and "```" not in question:
            question = COMPLETE[lang].format(fenced(stub))
    else:
        made = {"form": "stdio", "cases": list(_cases(cell, row, gold))}
        if "python" not in question.lower():
            question = PROGRAM[lang].format(question)
    _checked(made, gold)
    return Made(question, json.dumps(made), frozenset(USED))


def fenced(program: str) -> str:
    """A block of Python, with as many marks as the program needs."""
    longest = max((len(run) for run in _TICKS.findall(program)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}python\n{program.strip(chr(10))}\n{fence}"


def _chinese(question: str, lang: str) -> bool:
    if lang:
        return language.code(lang) == "zh"
    return next(iter(language.scripts(question)), "") == "Han"


def _showing(question: str, asserts: Sequence[str], lang: str) -> str:
    """The question with its asserts, unless it shows one already."""
    if any(line.strip() in question for line in asserts):
        return question
    return PASS[lang].format(question, fenced("\n".join(line.strip() for line in asserts)))


def _lines(found: Any) -> list[str]:
    parts = found if isinstance(found, list) else [found]
    return [part for part in parts if isinstance(part, str) and part.strip()]


# -- the writings of tests ------------------------------------------------------------------------


def _own(cell: Mapping[str, Any], column: str) -> dict[str, Any]:
    made = dict(cells.plain(cell))
    if made.get("form") == "stdio" and isinstance(made.get("cases"), list):
        made["cases"] = [
            {**case, **_case(case, column)} if isinstance(case, dict) else case
            for case in made["cases"]
        ]
    return made


def _asserts(asserts: Any, setup: Any, column: str) -> dict[str, Any]:
    if not isinstance(asserts, list) or not all(isinstance(line, str) for line in asserts):
        raise Unusable(column, "tests: asserts must be a list of texts")
    if setup is not None and not isinstance(setup, str):
        raise Unusable(column, f"tests: the setup is {cells.type_of(setup)}, text is needed")
    return {"form": "assert", "setup": setup or "", "code": "\n".join(asserts)}


def _code(code: Any, row: Mapping[str, Any], asked: str, column: str) -> tuple[dict[str, Any], str]:
    """The gold of test code, and the stub that the question is, or ""."""
    if not isinstance(code, str):
        raise Unusable(column, f"tests: the code is {cells.type_of(code)}, text is needed")
    made = {"form": "assert", "setup": "", "code": code}
    if not cells.has(row, "entry_point"):
        if "def check(" in code and not _calls(_tree(code, column), "check"):
            raise Unusable("entry_point", "missing key: check is defined, but of which function?")
        return made, ""
    entry = cells.text(cells.reach(row, "entry_point"), "entry_point").replace("().", ".")
    made["entry"] = entry
    prompt = cells.reach(row, asked, missing="")
    stub = prompt if isinstance(prompt, str) and f"def {entry}(" in prompt else ""
    if stub:
        setup = f"{stub}{'' if stub.endswith(chr(10)) else chr(10)}{STUB}"
        try:
            _tree(setup, asked)
            made["setup"] = setup
        except Unusable:  # prose around it: shown as it is
            stub = ""
    return made, stub


def _cases(cell: Any, row: Mapping[str, Any], column: str) -> Iterator[dict[str, str]]:
    if column in _CONTESTS:
        for name in _CONTESTS:
            if found := cells.data(row.get(name)):
                yield from _table(found, name)
        return
    yield from _table(cell, column)


def _table(cell: Any, column: str) -> Iterator[dict[str, str]]:
    """Cases as a list of objects, or as two lists of one length."""
    if isinstance(cell, list):
        for case in cell:
            if not isinstance(case, Mapping) or not {"input", "output"} <= case.keys():
                raise Unusable(column, "tests: every case needs input and output")
            if "functional" in (case.get("testtype"), case.get("type")):
                raise Unusable(column, "tests: of a function; write them as form call")
            yield _case(case, column)
        return
    if not isinstance(cell, Mapping):
        raise Unusable(column, f"wrong type: {cells.type_of(cell)}, tests are needed")
    if cell.get("fn_name"):
        raise Unusable(column, "tests: of a function (fn_name); write them as form call")
    for given, wanted in _PAIRS:
        if given in cell and wanted in cell:
            inputs, outputs = cell[given], cell[wanted]
            if not isinstance(inputs, list) or not isinstance(outputs, list):
                raise Unusable(column, f"tests: {given} and {wanted} must be lists")
            if len(inputs) != len(outputs):
                said = f"tests: {len(inputs)} {given}, but {len(outputs)} {wanted}"
                raise Unusable(column, said)
            for one, other in zip(inputs, outputs, strict=True):
                yield _case({"input": one, "output": other}, column)
            return
    raise Unusable(column, "tests: neither asserts nor code nor inputs and outputs")


def _case(case: Mapping[str, Any], column: str) -> dict[str, str]:
    made = {}
    for name in ("input", "output"):
        if name in case:
            parts = case[name] if isinstance(case[name], list) else [case[name]]
            if not all(isinstance(part, str | int | float) for part in parts):
                raise Unusable(column, f"tests: the {name} of a case must be text")
            made[name] = "\n".join(str(part) for part in parts)
    return made


# -- whether they can be used ---------------------------------------------------------------------


def _checked(made: Mapping[str, Any], column: str) -> None:
    for part in _texts(made):
        cells.whole(part, column)
    try:
        tests = read_tests(json.dumps(made))
    except BadTests as error:
        raise Unusable(column, f"tests: {error}") from None
    name = tests.entry
    if name and not all(part.isidentifier() for part in name.split(".")):
        raise Unusable(column, f"tests: entry {name[:60]!r} is no name of a function")
    if tests.form == "assert":
        _tree(tests.setup, column)
        if not any(isinstance(node, ast.Assert) for node in ast.walk(_tree(tests.code, column))):
            raise Unusable(column, "tests: nothing is asserted")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _tree(code: str, column: str) -> ast.Module:
    """Test code as Python reads it; not executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in other people's strings
            tree = ast.parse(code)
            compile(tree, "tests", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        said = str(error).split("\n")[0][:100]
        raise Unusable(column, f"tests: no Python ({type(error).__name__}: {said})") from None
    return tree


def _calls(tree: ast.AST, name: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(tree)
    )

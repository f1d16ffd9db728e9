"""Programs and functions as answers: where they stand, what is right, what does not pay."""

import json

import pytest

from aha.errors import RunError
from aha.rewards import code
from aha.rewards.answer import Extracted
from aha.rewards.grade_file import grade_file
from aha.rewards.workers import GraderPool
from aha.sandbox.box import Sandbox

ADD = {
    "form": "stdio",
    "cases": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 5", "output": "10"}],
}
CALL = {"form": "call", "entry": "add", "cases": [{"args": [1, 2], "expected": 3}]}
CALL["cases"].append({"args": [[1], [2]], "expected": [1, 2]})
ASSERT = {"form": "assert", "entry": "add", "code": "assert add(1, 2) == 3\nassert add(0, 0) == 0"}
READS = "a, b = map(int, input().split())\nprint(a + b)"
DEFINES = "def add(a, b):\n    return a + b"


@pytest.fixture(scope="module", autouse=True)
def sandbox():
    try:
        made = Sandbox(slots=1)
    except RunError as error:
        pytest.skip(str(error))
    with made:
        code._sandbox.append(made)
        yield made
        code._sandbox.clear()


def verdict(gold, program):
    return code.grade_code(json.dumps(gold), Extracted(program, "line"))


# -- where the program stands -------------------------------------------------------------------------

PLACES = {
    "one block": ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
    "the last of two": ("```python\nx = 1\n```\nBetter:\n```py\nx = 2\n```", "x = 2\n"),
    "no language": ("```\nx = 1\n```", "x = 1\n"),
    "another language after it": ("```python\nx = 1\n```\n```\noutput\n```\n", "output\n"),
    "output in another language": ("```python\nx = 1\n```\n```text\n5\n```", "x = 1\n"),
    "after the thinking": ("<think>```python\nx = 1\n```</think>```python\nx = 2\n```", "x = 2\n"),
    "in the tag": ("<think>t</think><answer>\n```python\nx = 3\n```\n</answer>", "x = 3\n"),
    "in the tag, bare": ("<think>t</think><answer>x = 4</answer>", "x = 4"),
    "in the tag, bare, after a blank": ("<think>t</think><answer> x = 4 </answer>", "x = 4"),
    "fences inside": ("````python\ns = '```'\n````", "s = '```'\n"),
    "tildes": ("~~~python\nx = 5\n~~~", "x = 5\n"),
}
NOWHERE = {
    "nothing": ("no code", "no_answer"),
    "only in the thinking": ("<think>```python\nx = 1\n```</think>I am done", "no_answer"),
    "thinking is open": ("<think>```python\nx = 1\n```", "think_open"),
    "cut": ("```python\nx = 1\n", "fence_open"),
    "cut after a whole one": ("```python\nx = 1\n```\n```python\ny", "fence_open"),
    "tag is open": ("<answer>x = 1", "answer_open"),
    "empty": ("```python\n\n```", "no_answer"),
    "another language": ("```cpp\nint x;\n```", "no_answer"),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_the_program_stands(name):
    response, want = PLACES[name]
    assert code.find_program(response).text == want


@pytest.mark.parametrize("name", NOWHERE)
def test_why_there_is_none(name):
    response, reason = NOWHERE[name]
    found = code.find_program(response)
    assert (found.text, found.reason) == (None, reason)


# -- comparing output ---------------------------------------------------------------------------------

SAME = [("1 2\n", "1 2"), ("1\n2\n", "1 2 "), ("a  b", "a b"), ("", "\n")]
NOT_SAME = [
    ("1", "1.0"),
    ("12", "1 2"),
    ("1 2", "1"),
    ("1", "1 2"),
    ("", "0"),
    ("YES", "Yes"),
    ("1e0", "1"),
]


@pytest.mark.parametrize("found, expected", SAME)
def test_same_output(found, expected):
    assert code.same_output(found, expected)


@pytest.mark.parametrize("found, expected", NOT_SAME)
def test_other_output(found, expected):
    assert not code.same_output(found, expected)


def test_output_within_a_tolerance():
    assert code.same_output("0.3000000001 yes", "0.3 yes", 1e-6)
    assert not code.same_output("0.31", "0.3", 1e-6)
    assert not code.same_output("nan", "0.3", 1e-6)
    assert not code.same_output("0x1", "1", 1e-6)
    assert not code.same_output("1_0", "10", 1e-6)


# -- verdicts -----------------------------------------------------------------------------------------

VERDICTS = {
    "program": (ADD, READS, "correct", 1.0, ""),
    "program, one wrong": (ADD, "print(3)", "wrong", 0.0, "wrong_output in test 2 of 2"),
    "program, no python": (ADD, "print(", "wrong", 0.0, "compile in test 1 of 2"),
    "program, raises after the output": (
        ADD,
        READS + "\n1/0",
        "wrong",
        0.0,
        "failed in test 1 of 2",
    ),
    "program, exit code": (ADD, READS + "\nexit(3)", "wrong", 0.0, "failed in test 1 of 2"),
    "program, more output": (
        ADD,
        READS + "\nprint(1)",
        "wrong",
        0.0,
        "wrong_output in test 1 of 2",
    ),
    "call": (CALL, DEFINES, "correct", 1.0, ""),
    "call, wrong": (CALL, "def add(a, b): return 3", "wrong", 0.0, "wrong_value in test 2 of 2"),
    "call, missing": (CALL, "def sub(a, b): return 3", "wrong", 0.0, None),
    "call, true for one": (
        {**CALL, "cases": [{"args": [0, 1], "expected": 1}]},
        "def add(a, b): return True",
        "wrong",
        0.0,
        "wrong_value in test 1 of 1",
    ),
    "call, tuple for a list": (
        {**CALL, "cases": [{"args": [1, 2], "expected": [1, 2]}]},
        "def add(a, b): return a, b",
        "correct",
        1.0,
        "",
    ),
    "assert": (ASSERT, DEFINES, "correct", 1.0, ""),
    "assert, wrong": (ASSERT, "def add(a, b): return a", "wrong", 0.0, "wrong_value"),
    "fraction": (
        {**ADD, "fraction": True},
        "print(3)",
        "wrong",
        0.5,
        "wrong_output in test 2 of 2",
    ),
    "fraction, all": ({**CALL, "fraction": True}, DEFINES, "correct", 1.0, ""),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(name):
    gold, program, status, score, reason = VERDICTS[name]
    got = verdict(gold, program)
    assert (got.status, got.score) == (status, score)
    if reason is not None:
        assert got.reason == reason


def test_time_is_limited_by_test_and_in_all():
    slow = {**ADD, "seconds": 0.5, "total_seconds": 1.0}
    got = verdict(slow, "while True: pass")
    assert (got.status, got.reason) == ("wrong", "timeout in test 1 of 2")
    got = verdict(
        {**CALL, "seconds": 0.5, "total_seconds": 2.0}, "def add(a, b):\n    while True: pass"
    )
    assert got.status == "wrong"
    assert got.reason.startswith("timeout")


BAD_GOLD = {
    "not json": "add",
    "no form": {"cases": []},
    "unknown form": {"form": "files"},
    "no cases": {"form": "stdio", "cases": []},
    "a case without output": {"form": "stdio", "cases": [{"input": "1"}]},
    "no entry": {"form": "call", "cases": [{"args": [], "expected": 1}]},
    "no test code": {"form": "assert", "code": "  "},
    "tests that test nothing": {"form": "assert", "entry": "add", "code": "x = 1"},
    "tests that are no python": {"form": "assert", "entry": "add", "code": "assert add(1 2)"},
    "seconds": {**ADD, "seconds": -1},
}


@pytest.mark.parametrize("name", BAD_GOLD)
def test_without_usable_tests_nothing_is_passed(name):
    gold = BAD_GOLD[name]
    text = gold if isinstance(gold, str) else json.dumps(gold)
    got = code.grade_code(text, Extracted(DEFINES, "line"))
    assert (got.status, got.score) == ("error", 0.0)


def test_too_long_a_program_is_refused_unread():
    got = verdict(ADD, "#" * (code.MAX_PROGRAM + 1))
    assert (got.status, got.reason) == ("wrong", "too_long")


CHEATS = {
    "expected output in the file": "import glob\nfor f in glob.glob('/**/*', recursive=True):\n"
    "    try:\n        if '\"output\"' in open(f).read(): print(open(f).read())\n    except Exception: pass",
    "prints every number": "print(*range(20))",
    "the first lines only": "print(3, end='')\nimport os\nos._exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "json of success": 'print(\'{"status": "correct"}\')',
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheating_programs_are_not_paid(name):
    assert verdict(ADD, CHEATS[name]).status == "wrong"


# -- through the pool and the command -------------------------------------------------------------------


def test_programs_in_the_pool():
    with GraderPool(workers=2, seconds=2.0) as pool:
        for number in range(6):
            text = READS if number % 2 else "print(3)"
            pool.submit(str(number), "code", json.dumps(ADD), f"```python\n{text}\n```")
        pool.submit(
            "hang", "code", json.dumps({**ADD, "seconds": 3.0}), "```\nwhile True: pass\n```"
        )
        pool.submit("sum", "math", "3", "\\boxed{3}")
        got = dict(pool.drain())
    assert [got[str(n)].score for n in range(6)] == [0.0, 1.0] * 3
    assert got["hang"].status == "wrong"  # the model's doing, longer than the pool's own deadline
    assert got["sum"].score == 1.0


def test_without_a_sandbox_there_is_no_verdict():
    with GraderPool(workers=1, sandbox="nowhere") as pool:
        pool.submit("a", "code", json.dumps(ADD), f"```\n{READS}\n```")
        ((_, got),) = pool.drain()
    assert got.status == "error"
    assert "no_sandbox" in got.reason


def test_a_file_of_programs(tmp_path):
    rows = [
        {"kind": "code", "gold": gold, "response": f"```python\n{text}\n```"}
        for gold, text in (
            (ADD, READS),
            (CALL, DEFINES),
            (ASSERT, DEFINES),
            (ASSERT, "def add(a, b): return 3"),
        )
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [row["reward"] for row in grade_file(path)] == [1.0, 1.0, 1.0, 0.0]

"""Tests of public data sets become golds that judge programs; what cannot be used is never passed."""

import json

import pytest

from aha.config import DataConfig
from aha.data import columns
from aha.data.code_rows import fenced
from aha.data.golds import own_answer
from aha.data.overlap import find
from aha.data.readers import BadRow, Row
from aha.data.sources import load
from aha.errors import RunError
from aha.rewards.code import find_program, judge_program, read_tests
from aha.sandbox.box import Sandbox

STUB = """from typing import List


def twice(xs: List[int]) -> List[int]:
    ''' Twice each.
    >>> twice([1])
    [2]
    '''
"""
CHECK = """METADATA = {}


def check(candidate):
    assert candidate([1, 2]) == [2, 4]
    assert candidate([]) == []
"""
HUMANEVAL = {
    "prompt": STUB,
    "entry_point": "twice",
    "test": CHECK,
    "canonical_solution": "    return [2 * x for x in xs]\n",
}
MBPP = {
    "text": "Write a function to add two numbers.",
    "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
    "test_setup_code": "",
    "code": "def add(a, b):\r\n    return a + b",
}
LEETCODE = {
    "prompt": "Please complete:\n```python\nclass Solution:\n    def most(self, xs: List[int]) -> int:\n```",
    "tests": {
        "type": "functional",
        "code": "def check(candidate):\n    assert candidate(xs = [3, 1]) == 3\n\ncheck(Solution().most)",
    },
    "solution": "class Solution:\n    def most(self, xs: List[int]) -> int:\n        return max(xs)\n",
}
WEEKLY = {
    "prompt": LEETCODE["prompt"],
    "tests": {
        "type": "script",
        "code": "s = Solution()\n\nx = {'xs': [3, 1]}\nassert s.most(**x) == 3\n",
    },
    "solution": LEETCODE["solution"],
}
CONTEST = {
    "prompt": "Add two numbers.",
    "tests": {"type": "stdin", "inputs": ["1 2\n", "5 5"], "outputs": ["3\n", "10"]},
    "solution": "print(sum(map(int, input().split())))",
}
CODE_CONTESTS = {
    "description": "Add two numbers.",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["5 5"], "output": ["10"]},
    "generated_tests": {"input": [], "output": []},
    "solution": CONTEST["solution"],
}
OFFICIAL = {
    "question": "Add two numbers.",
    "official_tests": [{"input": "1 2", "output": "3"}],
    "solution": CONTEST["solution"],
}
IN_JSON = {
    "question": "Add two numbers.",
    "input_output": json.dumps({"inputs": ["1 2", "5 5"], "outputs": ["3", "10"]}),
    "solution": CONTEST["solution"],
}
OWN = {
    "question": "Write add(a, b).",
    "gold": {"form": "call", "entry": "add", "cases": [{"args": [1, 2], "expected": 3}]},
    "solution": "def add(a, b): return a + b",
}
LAYOUTS = {
    "humaneval": HUMANEVAL, "mbpp": MBPP, "leetcode": LEETCODE, "weekly": WEEKLY,
    "contest": CONTEST, "code_contests": CODE_CONTESTS, "official": OFFICIAL,
    "in json": IN_JSON, "own": OWN,
    "own in json": {**OWN, "gold": json.dumps(OWN["gold"])},
    "tests of humaneval": {**HUMANEVAL, "test": None, "tests": {"code": HUMANEVAL["test"]}},
    "tests of mbpp": {"problem": "Add.", "tests": {"asserts": MBPP["test_list"], "setup": ""},
                      "solution": MBPP["code"]},
}  # fmt: skip


def one(value, **keys):
    value = {name: part for name, part in value.items() if part is not None}
    made = columns.bind([value], keys, where="x.jsonl")
    return made.prompt(Row("x.jsonl", 7, value), spare_id="x-7", source="x.jsonl")


@pytest.fixture(scope="module")
def sandbox():
    try:
        made = Sandbox(slots=1)
    except RunError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_told_and_their_solutions_pass(name, sandbox):
    prompt = one(LAYOUTS[name])
    assert prompt.kind == "code"
    own = own_answer(prompt)
    assert own is not None
    program = find_program(own).text
    tests = read_tests(prompt.gold)
    right = judge_program(sandbox, program, tests)
    assert right.passed == right.tests, right
    broken = (
        program.replace("+", "-").replace("max", "min").replace("sum", "len").replace("2 *", "3 *")
    )
    assert broken != program
    wrong = judge_program(sandbox, broken, tests)
    assert wrong.passed < wrong.tests


@pytest.mark.parametrize("name", [name for name in LAYOUTS if "mbpp" not in name])
def test_tests_are_not_in_the_question(name):
    prompt = one(LAYOUTS[name])
    shown = prompt.question + json.dumps(prompt.columns)
    for secret in ("assert ", "[2, 4]", "5 5", "1 2", '"expected"'):
        assert secret not in shown


def test_the_question_of_humaneval_asks_for_the_whole_function():
    prompt = one(HUMANEVAL)
    assert prompt.question.startswith("Complete:\n\n```python\nfrom typing")
    assert prompt.question.endswith("Write the whole function.")
    gold = json.loads(prompt.gold)
    assert gold["setup"] == HUMANEVAL["prompt"] + "    pass\n"
    assert (gold["form"], gold["entry"], gold["code"]) == ("assert", "twice", HUMANEVAL["test"])
    assert set(prompt.columns) == {"canonical_solution", "entry_point"}  # not the tests


def test_the_question_of_mbpp_shows_its_asserts_once():
    prompt = one(MBPP)
    assert prompt.question == (
        "Write a function to add two numbers.\n\nTests to pass:\n\n"
        "```python\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n```"
    )
    shown = {**MBPP, "text": "Add. For example:\nassert add(1, 2) == 3"}
    assert one(shown).question == shown["text"]
    before = one({**MBPP, "test_imports": ["import math"], "test_setup_code": "x = 1"})
    assert json.loads(before.gold)["setup"] == "import math\nx = 1"


def test_a_request_is_added_in_the_language_of_the_question():
    assert one(CONTEST).question == "Add two numbers.\n\nWrite a Python program."
    assert "用 Python 写程序" in one({**CONTEST, "prompt": "把两个数相加。"}).question
    assert "用 Python 写程序" in one(CONTEST, lang="zh").question
    said = {**CONTEST, "prompt": "Add two numbers in Python."}
    assert one(said).question == said["prompt"]
    assert one(LEETCODE).question == LEETCODE["prompt"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_is_added_makes_no_overlap(lang):
    """Different problems share the added words; that is no reason to leave one out of training."""

    def mbpp(n):
        asserts = [f"assert {n}() == '{n}'"]
        return {**MBPP, "text": f"Write a function with regex {n}.", "test_list": asserts}

    def contest(n):
        return {**CONTEST, "prompt": f"Print the answer for each test {n}."}

    def humaneval(n):
        stub = f"from typing import List\n\n\ndef {n}(xs: List[int]):\n    ''' It {n}. '''\n"
        return {**HUMANEVAL, "prompt": stub, "entry_point": n}

    for make in (mbpp, contest, humaneval):
        assert find([one(make("red"), lang=lang)], [one(make("blue"), lang=lang)], 10) == []


def test_cases_of_code_contests_are_put_together():
    gold = json.loads(one(CODE_CONTESTS).gold)
    assert gold["cases"] == [{"input": "1 2\n", "output": "3\n"}, {"input": "5 5", "output": "10"}]
    lines = {**CONTEST, "tests": {"inputs": [["1", 2], 3], "outputs": [["3"], 4.5]}}
    assert json.loads(one(lines).gold)["cases"] == [
        {"input": "1\n2", "output": "3"}, {"input": "3", "output": "4.5"},
    ]  # fmt: skip


def test_a_prompt_that_is_no_stub_is_shown_as_it_is():
    prompt = one({**HUMANEVAL, "prompt": "Write twice(xs), which doubles each of xs."})
    assert prompt.question == "Write twice(xs), which doubles each of xs."
    assert json.loads(prompt.gold)["setup"] == ""
    dotted = one(
        {**LEETCODE, "tests": {"code": HUMANEVAL["test"]}, "entry_point": "Solution().most"}
    )
    assert json.loads(dotted.gold)["entry"] == "Solution.most"


BROKEN = {
    "no tests": (CONTEST, {"tests": None}, "missing key"),
    "a number": (CONTEST, {"tests": 5}, "wrong type: int, tests are needed"),
    "empty lists": (CONTEST, {"tests": {"inputs": [], "outputs": []}}, "needs 1 to 500 cases"),
    "empty list": (MBPP, {"test_list": []}, "needs 1 to 500 cases"),
    "no asserts": (CONTEST, {"tests": {"asserts": []}}, "no tests"),
    "asserts of another type": (CONTEST, {"tests": {"asserts": [1]}}, "a list of texts"),
    "lengths differ": (CONTEST, {"tests": {"inputs": ["1"], "outputs": []}}, "1 inputs, but 0 outputs"),
    "not lists": (CONTEST, {"tests": {"inputs": "1", "outputs": "1"}}, "must be lists"),
    "a case of another type": (CONTEST, {"tests": {"inputs": [{}], "outputs": ["1"]}}, "must be text"),
    "a case without output": (OFFICIAL, {"official_tests": [{"input": "1"}]}, "needs input and output"),
    "too many": (CONTEST, {"tests": {"inputs": ["1"] * 501, "outputs": ["1"] * 501}}, "1 to 500"),
    "of a function": (
        IN_JSON, {"input_output": {"inputs": [1], "outputs": [1], "fn_name": "f"}}, "fn_name"),
    "functional": (
        OFFICIAL, {"official_tests": [{"input": "1", "output": "1", "testtype": "functional"}]},
        "of a function"),
    "nothing known": (CONTEST, {"tests": {"a": 1}}, "neither asserts nor code"),
    "no python": (HUMANEVAL, {"test": "def check(candidate:\n    assert 1"}, "no Python (SyntaxError"),
    "nothing asserted": (HUMANEVAL, {"test": "def check(candidate):\n    pass"}, "nothing is asserted"),
    "return outside": (HUMANEVAL, {"test": "assert twice([]) == []\nreturn"}, "no Python"),
    "no entry": (HUMANEVAL, {"entry_point": None}, "of which function"),
    "entry is no name": (HUMANEVAL, {"entry_point": "twice(); x"}, "no name of a function"),
    "entry is a number": (HUMANEVAL, {"entry_point": 5}, "wrong type: int"),
    "NUL": (CONTEST, {"tests": {"inputs": ["1\0"], "outputs": ["1"]}}, "NUL byte"),
    "NUL in code": (HUMANEVAL, {"test": CHECK + "\0"}, "NUL byte"),
    "surrogate": (CONTEST, {"tests": {"inputs": ["1"], "outputs": ["\ud800"]}}, "lone surrogate"),
    "code of another type": (LEETCODE, {"tests": {"code": ["assert 1"]}}, "text is needed"),
    "setup of another type": (MBPP, {"tests": {"asserts": ["assert f() == 1"], "setup": 3},
                                     "test_list": None}, "the setup is int"),
    "own: unknown form": (OWN, {"gold": {"form": "files"}}, "needs form"),
    "own: no cases": (OWN, {"gold": {"form": "call", "entry": "f", "cases": []}}, "1 to 500"),
    "own: seconds": (OWN, {"gold": {**OWN["gold"], "seconds": 900}}, "seconds=900"),
    "own: case of another type": (
        OWN, {"gold": {"form": "stdio", "cases": [{"input": {}, "output": "1"}]}}, "must be text"),
    "deep code": (HUMANEVAL, {"test": "assert " + "(" * 5000 + "1" + ")" * 5000}, "no Python"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_rows_without_usable_tests_are_refused(name):
    row, changed, said = BROKEN[name]
    value = {key: part for key, part in {**row, **changed}.items() if part is not None}
    made = columns.bind([row, value], {"kind": "code"}, where="x")
    bad = made.prompt(Row("x.jsonl", 7, value), spare_id="x-7", source="x.jsonl")
    assert isinstance(bad, BadRow), bad
    assert said in bad.reason


def test_a_file_is_read_to_the_row(tmp_path):
    rows = [
        CONTEST,
        {**CONTEST, "tests": None},
        {**CONTEST, "tests": {"inputs": [], "outputs": []}},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load(str(path), split="train", config=DataConfig(heldout="x", max_bad_share=1.0))
    assert (loaded.read, len(loaded.prompts), len(loaded.bad)) == (3, 1, 2)
    assert loaded.notes == ["kind code, told by the columns; kind= names another"]
    assert loaded.mapping == {"question": "prompt", "gold": "tests"}


def test_other_rows_are_not_taken_for_programs():
    for value in (
        {"question": "Q", "answer": "7", "tests": [1, 2]},
        {"question": "Q", "answer": "7", "test": "blood test"},
        {"question": "Q", "answer": "assert yourself", "tests": {}},
        {"question": "Q", "gold": "assert x == 1"},
        {**HUMANEVAL, "kind": "exact", "answer": "7"},
    ):
        assert one(value).kind in ("math", "exact")
    assert one({**OWN, "answer": "3"}, gold="answer").kind == "math"
    assert one({**CONTEST, "answer": "3"}, kind="math").gold == "3"


def test_a_fence_is_longer_than_those_inside():
    assert fenced("x = 1\n") == "```python\nx = 1\n```"
    inside = "s = '````'"
    assert find_program(fenced(inside)).text == inside + "\n"

"""The gold self-check on kinds whose golds are more than a text; which golds fail is by hand."""

import json

import pytest

from aha.config import DataConfig
from aha.data import check, sources
from aha.data.faults import kind_of
from aha.data.golds import GoldCheck, own_answer
from aha.errors import RunError
from aha.records import Prompt
from aha.rewards.grade import grade
from aha.sandbox.box import Sandbox

ADD = {"form": "call", "entry": "add", "cases": [{"args": [1, 2], "expected": 3}]}
GCD = {"form": "assert", "setup": "", "code": "assert gcd(4, 6) == 2"}
EMPTY = {"form": "stdio", "cases": [{"input": "1", "output": ""}]}
NOTHING = {"form": "assert", "setup": "", "code": "x = 1\nassert x"}
RIGHT = "def add(a, b): return a + b"


@pytest.fixture(scope="module")
def programs():
    try:
        Sandbox(slots=1).close()
    except RunError as error:
        pytest.skip(str(error))


def prompt(kind, gold, **columns):
    gold = gold if isinstance(gold, str) else json.dumps(gold)
    return Prompt(id="x", question="Q", gold=gold, kind=kind, columns=columns)


CODE = {
    "the solution passes": (prompt("code", ADD, solution=RIGHT), ""),
    "fenced": (prompt("code", ADD, solution=f"So:\n```python\n{RIGHT}\n```"), ""),
    "another column": (prompt("code", ADD, canonical_solution=RIGHT), ""),
    "no solution": (prompt("code", ADD), ""),
    "the solution is null": (prompt("code", ADD, solution=None), ""),
    "the solution fails": (
        prompt("code", ADD, solution="def add(a, b): return a"),
        "gold not accepted",
    ),
    "the solution is prose": (prompt("code", ADD, solution="Add them."), "gold not accepted"),
    "nothing of the answer is called": (prompt("code", NOTHING), "gold unreadable"),
    "a name that Python has": (prompt("code", GCD), ""),  # and the answer does not
    "nothing is asked for": (prompt("code", EMPTY), "gold passes all"),
}


def failed(cases):
    found = {}
    with GoldCheck(lambda where, kind, said: found.update({where: (kind, said)})) as golds:
        for name, each in cases.items():
            golds.add(name, each)
    assert golds.checked == len(cases)
    return found


def test_programs(programs):
    found = failed({name: each for name, (each, _) in CODE.items()})
    assert {name: kind for name, (kind, _) in found.items()} == {
        name: kind for name, (_, kind) in CODE.items() if kind
    }


def test_where_no_program_can_run_it_is_said(monkeypatch):
    monkeypatch.setattr("aha.data.golds.GraderPool", lambda **keys: pool(**keys, sandbox="nowhere"))
    from aha.rewards.workers import GraderPool as pool

    found = failed({"a": prompt("code", ADD, solution=RIGHT)})
    assert found["a"][0] == "gold not checked"
    assert "no_sandbox" in found["a"][1]


OTHERS = {
    "a letter": (prompt("choice", "C"), ""),
    "options": (prompt("choice", {"answer": "BD", "options": ["w", "x", "y", "z"]}), ""),
    "no letter": (prompt("choice", "the third"), "gold unreadable"),
    "number": (prompt("numeric", "3.14 ± 0.02"), ""),
    "near to": (prompt("numeric", {"value": "3/4", "rel": 0.01}), ""),
    "no number": (prompt("numeric", {"value": "blue", "rel": 0.01}), "gold unreadable"),
    "knights": (prompt("knights", {"names": ["Zoe", "Bob"], "solution": [True, False]}), ""),
    "Chinese names": (
        prompt("knights", {"names": ["小明", "小红"], "solution": [False, False]}),
        "",
    ),
    "a value": (prompt("code_io", {"form": "output", "value": "[1, 'a']"}), ""),
    "no value": (prompt("code_io", {"form": "output", "value": "f(x)"}), "gold unreadable"),
}


def test_the_other_kinds():
    found = failed({name: each for name, (each, _) in OTHERS.items()})
    assert {name: kind for name, (kind, _) in found.items()} == {
        name: kind for name, (_, kind) in OTHERS.items() if kind
    }


@pytest.mark.parametrize("task", ["knights?lang=mix&people=2-4", "code_io?lang=mix&level=1-3"])
def test_tasks_accept_their_own_answers_and_no_other(task):
    prompts = sources.load(f"{task}&n=60", split="train", config=DataConfig()).prompts
    own = [own_answer(each) for each in prompts]
    for each, answer in zip(prompts, own, strict=True):
        assert grade(each.kind, each.gold, f"<answer>{answer}</answer>").status == "correct"
        wrong = answer.replace("knave", "KNIGHT").replace("knight", "knave").lower()
        wrong = wrong if wrong != answer else f"[{answer}]"
        assert grade(each.kind, each.gold, f"<answer>{wrong}</answer>").status == "wrong"


def test_a_file_of_programs_is_checked(tmp_path, programs):
    row = {"prompt": "Add.", "tests": {"asserts": ["assert add(1, 2) == 3"], "setup": ""}}
    rows = [
        {**row, "solution": RIGHT},
        {**row, "prompt": "Add them.", "solution": "def add(a, b): return 4"},
        {**row, "prompt": "Do add.", "tests": {"asserts": []}},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    faults = []
    report = check.check(str(path), DataConfig(train=str(path)), sink=faults.append)
    assert (report.read, report.kept, report.rejected) == (3, 2, 1)
    assert (report.golds_checked, report.golds_failed) == (2, 1)
    assert [(fault.level, fault.kind, fault.line) for fault in faults] == [
        ("rejected", "tests", 3),
        ("warning", "gold not accepted", 2),
    ]
    assert report.splits[0].notes == ["kind code, told by the columns; kind= names another"]


@pytest.mark.parametrize(
    "reason, kind",
    [
        ("tests: nothing is asserted", "tests"),
        ("wrong type: int, tests are needed", "tests"),
        ("wrong type: int, text is needed", "wrong type"),
        ("options: 1 of them, 2 to 10 are needed", "options"),
        ("knights: one name comes twice", "knights"),
        ("tolerance: rel is '2', 0 to below 1 is needed", "tolerance"),
    ],
)
def test_reasons_have_kinds(reason, kind):
    assert kind_of(reason) == kind

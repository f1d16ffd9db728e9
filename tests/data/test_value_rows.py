"""Golds of kind numeric, knights and code_io from rows; golds are worked out by hand."""

import json

import pytest

from aha.config import DataConfig
from aha.data import columns
from aha.data.golds import own_answer
from aha.data.readers import BadRow, Row
from aha.data.sources import load
from aha.errors import ConfigError


def one(gold, kind, more=(), **keys):
    value = {"question": "Q", "answer": gold, **dict(more)}
    made = columns.bind([value], {"kind": kind, **keys}, where="x.jsonl")
    return made.prompt(Row("x.jsonl", 7, value), spare_id="x-7", source="x.jsonl")


# -- numeric --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gold, more, keys, expected",
    [
        ("3.14", {}, {}, "3.14"),
        (72, {}, {}, "72"),
        ("3.14 ± 0.02", {}, {}, "3.14 ± 0.02"),
        ("so #### 1,234", {}, {}, "1234"),
        ("3.14", {}, {"tolerance": "0.01"}, {"value": 3.14, "rel": 0.01}),
        ("1,234", {}, {"tolerance": "0.01"}, {"value": 1234, "rel": 0.01}),
        ("3.14", {"tolerance": 0.5}, {"tolerance": "0.01"}, {"value": 3.14, "rel": 0.5}),
        ("3.14", {"tolerance": "0.5"}, {}, {"value": 3.14, "rel": 0.5}),
        ("3.14", {"tolerance": None}, {}, "3.14"),
        ("3/4", {"tolerance": 0.1}, {}, {"value": "3/4", "rel": 0.1}),
        ("5 km", {"tolerance": 0.1}, {}, {"value": "5 km", "rel": 0.1}),
        ("-1.5e3", {}, {"tolerance": "0"}, {"value": -1500.0, "rel": 0.0}),
        ({"value": 3.14, "abs": 0.05}, {}, {}, {"value": 3.14, "abs": 0.05}),
        ('{"value": "3.14", "rel": 0.1}', {}, {}, {"value": 3.14, "rel": 0.1}),
        ({"value": 7}, {}, {}, "7"),
        ([7], {}, {}, "7"),
    ],
)
def test_numeric(gold, more, keys, expected):
    prompt = one(gold, "numeric", more, **keys)
    if isinstance(expected, dict):
        assert json.loads(prompt.gold) == expected
        assert own_answer(prompt) == str(expected["value"])
    else:
        assert prompt.gold == expected
        assert own_answer(prompt) == expected.partition(" ±")[0]
    assert prompt.columns.keys() <= {"tolerance"}


@pytest.mark.parametrize(
    "gold, more, said",
    [
        ("about three", {"tolerance": 0.1}, "no number to be near to"),
        ("1e999", {"tolerance": 0.1}, "no number to be near to"),
        ("nan", {"tolerance": 0.1}, "no number to be near to"),
        ("9" * 5000, {"tolerance": 0.1}, "no number to be near to"),
        ("3", {"tolerance": -0.1}, "rel is '-0.1'"),
        ("3", {"tolerance": 1}, "0 to below 1"),
        ("3", {"tolerance": "much"}, "rel is 'much'"),
        ("3", {"tolerance": True}, "rel is 'True'"),
        ("3", {"tolerance": [1]}, "rel is '[1]'"),
        ({"value": 3, "abs": "inf"}, {}, "0 or more"),
        ({"rel": 0.1}, {}, "wrong type: null"),
        ({"value": {}, "rel": 0.1}, {}, "wrong type: dict"),
        ([1, 2], {}, "wrong type: list"),
        (float("inf"), {}, "not a number"),
        ("3\0", {}, "NUL byte"),
    ],
)
def test_numeric_rows_that_are_refused(gold, more, said):
    bad = one(gold, "numeric", more)
    assert isinstance(bad, BadRow), bad
    assert said in bad.reason


def test_a_tolerance_says_the_kind(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "Q", "answer": "3.5"}\n')
    prompt = load(f"{path}?tolerance=0.01", split="train", config=DataConfig()).prompts[0]
    assert (prompt.kind, json.loads(prompt.gold)) == ("numeric", {"value": 3.5, "rel": 0.01})
    for query, said in [
        ("?tolerance=much", "write a number"),
        ("?tolerance=1", "below 1"),
        ("?tolerance=-0.1", "below 1"),
        ("?tolerance=0.1&kind=math", "for kind=numeric"),
    ]:
        with pytest.raises(ConfigError, match=said):
            load(f"{path}{query}", split="train", config=DataConfig())


# -- knights --------------------------------------------------------------------------------------

ZOEY = {"names": ["Zoey", "Ethan"], "solution": [True, False]}
SAID = "(1) Zoey is a knight\n(2) Ethan is a knave"


@pytest.mark.parametrize(
    "value",
    [
        {**ZOEY, "problem": "Q", "answer": SAID},
        {"problem": "Q", "gold": ZOEY, "kind": "knights"},
        {"problem": "Q", "gold": json.dumps(ZOEY), "solution": "a tale", "kind": "knights"},
        {"problem": "Q", "answer": SAID, "kind": "knights"},
        {"problem": "Q", "answer": "Zoey is a knight.\nEthan is a knave.", "kind": "knights"},
    ],
)
def test_knights(value):
    made = columns.bind([value], {}, where="x")
    prompt = made.prompt(Row("x", 1, value), spare_id="x-1", source="x")
    assert (prompt.kind, prompt.question) == ("knights", "Q")
    assert json.loads(prompt.gold) == ZOEY
    assert own_answer(prompt) == "Zoey is a knight\nEthan is a knave"


@pytest.mark.parametrize(
    "value, said",
    [
        ({**ZOEY, "solution": [True]}, "2 names and 1 answers"),
        ({**ZOEY, "solution": [1, 0]}, "true or false"),
        ({**ZOEY, "solution": []}, "2 names and 0 answers"),
        ({**ZOEY, "names": ["Zoey", "zoey"]}, "one name comes twice"),
        ({**ZOEY, "names": ["Zoey", 5]}, "wrong type: int"),
        ({**ZOEY, "names": ["Zoey", "E\0"]}, "NUL byte"),
        ({**ZOEY, "names": "Zoey, Ethan"}, "a list of names"),
        ({"solution": [True, False]}, "a list of names"),
        ({"names": ["a"] * 27, "solution": [True] * 27}, "27 names"),
        ({"solution": "Zoey is a knight and so on"}, "no lines"),
        ({"solution": SAID + "\nboth lie"}, "no lines"),
        ({"solution": "x" * 10**6}, "no lines"),
    ],
)
def test_knights_that_are_refused(value, said):
    value = {"question": "Q", **value}
    made = columns.bind([value], {"kind": "knights"}, where="x")
    bad = made.prompt(Row("x", 1, value), spare_id="x-1", source="x")
    assert isinstance(bad, BadRow), bad
    assert said in bad.reason


# -- code_io --------------------------------------------------------------------------------------

BACK = {"form": "input", "code": "def f(x): return x + 1", "entry": "f", "value": "3"}


@pytest.mark.parametrize(
    "gold, expected, own",
    [
        ({"form": "output", "value": "[1, 2]"}, {"form": "output", "value": "[1, 2]"}, "[1, 2]"),
        ('{"form": "output", "value": "\'a\'"}', {"form": "output", "value": "'a'"}, "'a'"),
        (
            {"form": "output", "value": [1, None]},
            {"form": "output", "value": "[1, None]"},
            "[1, None]",
        ),
        ("(1, 'a')", {"form": "output", "value": "(1, 'a')"}, "(1, 'a')"),
        ("[1, 2]", {"form": "output", "value": "[1, 2]"}, "[1, 2]"),
        (7, {"form": "output", "value": "7"}, "7"),
        (BACK, BACK, None),
    ],
)
def test_code_io(gold, expected, own):
    prompt = one(gold, "code_io")
    assert json.loads(prompt.gold) == expected
    assert own_answer(prompt) == own


def test_code_io_is_told_by_its_gold():
    value = {"question": "Q", "gold": {"form": "output", "value": "1"}}
    assert columns.bind([value], {}, where="x").found == "code_io"


@pytest.mark.parametrize(
    "gold, said",
    [
        ("print(1)", "not_a_literal"),
        ("[1, 2", "not_a_literal"),
        ("__import__('os')", "not_a_literal"),
        ({"form": "output"}, "wrong type: null"),
        ({"form": "output", "value": ""}, "empty"),
        ({"form": "output", "value": "'" + "x" * 5000 + "'"}, "more than 4096"),
        ({"form": "output", "value": "[" * 3000}, "too_deep"),
        ({**BACK, "code": 5}, "wrong type: int"),
        ({**BACK, "entry": "f()"}, "the name of its function"),
        ({**BACK, "entry": None}, "wrong type: null"),
        ({"form": "files", "value": "1"}, "needs form: output or input"),
        ("1\0", "NUL byte"),
    ],
)
def test_code_io_that_is_refused(gold, said):
    bad = one(gold, "code_io")
    assert isinstance(bad, BadRow), bad
    assert said in bad.reason

"""Inputs and outputs of programs: literals, arguments, calls in the sandbox, hostile texts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import cases, misjudged

from aha.errors import RunError
from aha.rewards import code
from aha.rewards.answer import Extracted
from aha.rewards.code_io import (
    NotLiteral,
    alike,
    grade_code_io,
    needs_sandbox,
    patience_of,
    read_arguments,
    read_literal,
)
from aha.rewards.grade import grade
from aha.sandbox.box import Sandbox

PROGRAM = "def f(x, y=0, *, k=1):\n    return [x + y, k]\n"


@pytest.fixture(scope="module")
def sandbox():
    try:
        made = Sandbox(slots=1)
    except RunError as error:
        pytest.skip(str(error))
    with made:
        code._sandbox.append(made)
        yield made
        code._sandbox.clear()


def gold(value, source=PROGRAM, entry="f"):
    return json.dumps({"form": "input", "code": source, "entry": entry, "value": value})


def judged(task, answer):
    return grade_code_io(task, Extracted(answer, "answer_tag"))


@pytest.mark.parametrize("place", ["\\boxed{%s}", "<answer>%s</answer>"])
def test_every_verdict_of_the_table(place):
    listed = cases("code_io_cases")
    assert all(case.why for case in listed)
    whole = [case for case in listed if "\\boxed" not in place or balanced(case.answer)]
    assert not misjudged("code_io", whole, place)


def balanced(text):
    return text.count("{") == text.count("}")


def test_a_fenced_answer():
    task = json.dumps({"form": "output", "value": "[1, 2]"})
    assert judged(task, "```python\n[1, 2]\n```").status == "correct"
    assert judged(task, "```\n[1, 2]\n```").status == "correct"
    assert judged(task, "```\n[1, 2]").status == "unparsed"


# -- arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, args, named",
    [
        ("1", [1], {}),
        ("1, 2", [1, 2], {}),
        ("(1, 2)", [(1, 2)], {}),
        ("[1, 2], 'a'", [[1, 2], "a"], {}),
        ("f(1, 2)", [1, 2], {}),
        ("f()", [], {}),
        ("x=1, k=[2]", [], {"x": 1, "k": [2]}),
        ("f(1, k=2)", [1], {"k": 2}),
        ("`f(1)`", [1], {}),
        ("", [], {}),
    ],
)
def test_arguments(text, args, named):
    assert read_arguments(text, "f") == (args, named)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "g(1)",
        "1)(2",
        "1) + f(2",
        "1) if x else (2",
        "*[1, 2]",
        "**{'x': 1}",
        "x for x in [1]",
        "lambda: 1",
        "1 # 2",
        "open('/etc/passwd')",
        "f(f(1))",
        "f(1).real",
        "x=1, x=2",
        "1\n2",
    ],
)
def test_what_is_no_argument_list(text):
    with pytest.raises(NotLiteral):
        read_arguments(text, "f")


# -- calls --------------------------------------------------------------------------------------------

CALLS = {
    "right": ("3, 4", "[7, 1]", "correct", "equal"),
    "another input that gives it": ("7", "[7, 1]", "correct", "equal"),
    "by name": ("x=3, y=4, k=1", "[7, 1]", "correct", "equal"),
    "as a call": ("f(3, y=4)", "[7, 1]", "correct", "equal"),
    "wrong": ("3, 5", "[7, 1]", "wrong", "wrong_value"),
    "a tuple for a list": ("3, 4", "(7, 1)", "wrong", "wrong_value"),
    "true for one": ("6, True, k=True", "[7, 1]", "wrong", "wrong_value"),
    "too many": ("3, 4, 5", "[7, 1]", "wrong", None),
    "raises": ("'a', 4", "[7, 1]", "wrong", None),
    "no literal": ("x", "[7, 1]", "unparsed", "not_a_literal"),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_input_is_tried_in_the_sandbox(sandbox, name):
    answer, value, status, reason = CALLS[name]
    got = judged(gold(value), answer)
    assert got.status == status, got
    assert reason is None or got.reason == reason


def test_an_input_that_makes_the_program_hang_is_wrong(sandbox, monkeypatch):
    monkeypatch.setattr("aha.rewards.code_io.SECONDS", 0.5)
    source = "def f(n):\n    while n: pass\n    return n\n"
    assert judged(gold("0", source), "0").status == "correct"
    late = judged(gold("0", source), "1")
    assert (late.status, late.reason.split(":")[0]) == ("wrong", "timeout")


def test_a_program_that_does_not_load_is_our_failure(sandbox):
    for source in ("def f(", "raise ValueError(1)"):
        got = judged(gold("1", source), "1")
        assert (got.status, got.score) == ("error", 0.0)
        assert got.reason.startswith("gold_unparsed: the program")


def test_only_inputs_need_a_sandbox_and_patience():
    output = json.dumps({"form": "output", "value": "1"})
    assert needs_sandbox(gold("1"))
    assert patience_of(gold("1")) > 10
    for other in (output, "broken", "{}"):
        assert not needs_sandbox(other)
        assert patience_of(other) is None


# -- golds and hostile texts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"form": "both", "value": "1"}',
        '{"form": "output", "value": 1}',
        '{"form": "output", "value": "x + 1"}',
        '{"form": "input", "value": "1", "entry": "f"}',
        '{"form": "input", "value": "1", "code": "x", "entry": "f()"}',
    ],
)
def test_a_gold_that_is_none_is_our_failure(text):
    got = judged(text, "1")
    assert (got.status, got.score) == ("error", 0.0)
    assert got.reason.startswith("gold_unparsed")


BOMBS = {
    "nested brackets": "[" * 60 + "]" * 60,
    "open brackets": "(" * 4000,
    "signs": "-" * 4000 + "1",
    "a long sum": "1+" * 2000 + "1",
    "nots": "not " * 1000 + "1",
    "a long number": "9" * 4001 + "!",
    "too long": "1" * 5000,
    "a surrogate": "\udc80",
    "a null byte": "1\0",
    "lambdas": "lambda:" * 500 + "1",
    "attributes": "a" + ".b" * 2000,
    "subscripts": "[1]" * 1300,
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_texts_are_refused(name):
    for read in (read_literal, lambda text: read_arguments(text, "f")):
        with pytest.raises(NotLiteral):
            read(BOMBS[name])


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | FLOATS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_every_value_is_like_its_own_text(value):
    assert alike(read_literal(repr(value)), value)


@given(PLAIN, PLAIN)
def test_values_alike_have_equal_texts_up_to_the_kind_of_number(a, b):
    # repr tells bool from int and str from number; floats and order of keys are set apart
    if repr(a) == repr(b):
        assert alike(a, b)
    elif alike(a, b):
        assert a == b
        assert str(a).count("True") == str(b).count("True")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))
def test_any_text_gets_a_verdict(text):
    task = json.dumps({"form": "output", "value": "[1, 2]"})
    got = grade("code_io", task, f"<answer>{text}</answer>", mode="all")
    assert got.status in ("correct", "wrong", "unparsed"), got

"""Functions: the reference as text is run (by Python here, by the grader in a few cases) against the gold."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from aha.data.golds import own_answer
from aha.data.query import settings
from aha.data.tasks import TASKS, canonical, functions, problems
from aha.data.tasks.operations import LIST, NUMBER, OPERATIONS, TEXT
from aha.errors import ConfigError, RunError
from aha.rewards.code import judge_program, read_tests
from aha.sandbox.box import Sandbox

INPUTS = {
    NUMBER: st.integers(-300, 300),
    TEXT: st.text("abcdeXYZ  -", max_size=12),
    LIST: st.lists(st.integers(-20, 40), max_size=8),
}


def made(split="train", n=60, **keys):
    task = TASKS["functions"]
    return problems(task, settings(task.settings, keys, where="functions"), split=split, n=n)[0]


def compiled(program):
    """Our own text, in this process."""
    space = {}
    exec(program, space)
    return space["f"]


@pytest.mark.parametrize("name", OPERATIONS)
@given(data=st.data())
@limits(max_examples=15)
def test_every_operation_is_its_own_text(name, data):
    operation = OPERATIONS[name]
    x = data.draw(INPUTS[operation.takes])
    found, said = operation.compute(x), eval(operation.code, {"x": x})
    assert found == said
    assert type(found) is type(said)
    assert type(found) is {NUMBER: int, TEXT: str, LIST: list}.get(operation.gives, bool)


@pytest.mark.parametrize("level", ["1", "2", "3"])
def test_gold_is_what_the_reference_gives(level):
    for prompt in made(level=level):
        gold = json.loads(prompt.gold)
        f = compiled(prompt.columns["solution"])
        assert 6 <= len(gold["cases"]) <= 10
        for case in gold["cases"]:
            assert json.dumps(f(*case["args"])) == json.dumps(case["expected"])
        assert read_tests(prompt.gold).entry == "f"
        assert len(prompt.columns["steps"]) == int(level)
        assert "expected" not in prompt.question
        assert prompt.question.isascii()


@pytest.mark.parametrize("level", ["1", "2", "3"])
def test_no_constant_and_no_shorter_function_passes(level):
    for prompt in made(level=level):
        cases = json.loads(prompt.gold)["cases"]
        wanted = [case["expected"] for case in cases]
        assert len({json.dumps(each) for each in wanted}) > 1
        steps = [OPERATIONS[name] for name in prompt.columns["steps"]]
        for left_out in range(len(steps)):
            rest = [*steps[:left_out], *steps[left_out + 1 :]]
            try:
                found = [functions.value(rest, case["args"][0]) for case in cases]
            except (TypeError, AttributeError):
                continue  # what is left does not fit together
            assert found != wanted


def test_mutants_fail_the_hidden_tests():
    """A constant of the program changed by one; some mean the same ("the first 6" of a text, thrice)."""
    survived = tried = 0
    for prompt in made(level="1-3", n=150, seed="4"):
        program, cases = prompt.columns["solution"], json.loads(prompt.gold)["cases"]
        for found in re.finditer(r"(?<![\w'.])\d+", program):
            mutant = f"{program[: found.start()]}{int(found[0]) + 1}{program[found.end() :]}"
            tried += 1
            try:
                f = compiled(mutant)
                survived += all(f(*case["args"]) == case["expected"] for case in cases)
            except Exception:
                continue
    assert tried > 100
    assert survived <= 0.06 * tried


def test_the_grader_takes_references_and_refuses_others():
    try:
        sandbox = Sandbox(slots=1)
    except RunError as error:
        pytest.skip(str(error))
    with sandbox:
        for prompt in made(level="1-3", n=6):
            tests = read_tests(prompt.gold)
            right = judge_program(sandbox, prompt.columns["solution"], tests)
            assert (right.passed, right.tests) == (10, 10), right
            for wrong in ("def f(x):\n    return x", "def f(x):\n    return None", "f = 1"):
                assert judge_program(sandbox, wrong, tests).passed < 10
        assert own_answer(made(n=1)[0]).startswith("```python\ndef f(x):")


def test_questions_say_every_step():
    for lang, joined in (("en", ", then "), ("zh", "，然后")):
        for prompt in made(level="1-3", lang=lang, n=80):
            steps = [getattr(OPERATIONS[name], lang) for name in prompt.columns["steps"]]
            assert joined.join(steps) in prompt.question
            assert "f(x)" in prompt.question
            assert "{" not in prompt.question
            assert bool(re.search("[一-鿿]", prompt.question)) == (lang == "zh")
            assert len(prompt.question) < 400


def test_one_function_said_in_two_ways_is_one_problem():
    assert functions.canonical(["plus 2", "plus 3"]) == functions.canonical(["plus 5"])
    assert functions.canonical(["reverse", "sum"]) == functions.canonical(["sum"])
    assert functions.canonical(["even", "sum"]) != functions.canonical(["odd", "sum"])
    assert functions.canonical(["is_even"]) != functions.canonical(["mod 2"])


def test_train_and_heldout_never_meet_whatever_seed_and_language():
    train = {canonical(prompt) for prompt in made(n=500)}
    heldout = {canonical(prompt) for prompt in made("heldout", n=80, seed="3", lang="zh")}
    assert (len(train), len(heldout)) == (500, 80)
    assert train.isdisjoint(heldout)
    assert all(functions.is_heldout(p.columns["steps"]) for p in made("heldout", n=10))


def test_items_are_pure_functions_of_settings_and_index():
    chosen = functions.Settings(seed=5, lang="mix", level=(1, 3))
    before = [functions.item(chosen, index) for index in range(20)]
    assert before == [functions.item(chosen, index) for index in reversed(range(20))][::-1]
    assert {item.prompt.lang for item in before} == {"en", "zh"}


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"level": "0"}, "1 to 3"),
        ({"level": "4"}, "1 to 3"),
        ({"level": "2-1"}, "smaller first"),
        ({"levels": "2"}, "did you mean 'level'"),
        ({"lang": "fr"}, "en, zh or mix"),
    ],
)
def test_settings_that_are_refused(keys, said):
    with pytest.raises(ConfigError) as error:
        made(**keys)
    assert said in str(error.value)

import ast
import json
import operator
import re
from fractions import Fraction

import pytest

from aha.data.query import settings
from aha.data.tasks import TASKS, countdown, problems
from aha.errors import ConfigError

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def worth(node: ast.AST) -> Fraction:
    """Python's own parser, exact fractions."""
    if isinstance(node, ast.Expression):
        return worth(node.body)
    if isinstance(node, ast.Constant):
        return Fraction(node.value)
    return OPERATORS[type(node.op)](worth(node.left), worth(node.right))


def made(split="train", n=150, **keys):
    task = TASKS["countdown"]
    return problems(task, settings(task.settings, keys, where="countdown"), split=split, n=n)[0]


@pytest.mark.parametrize(
    "keys", [{}, {"numbers": "6"}, {"numbers": "3", "largest": "9", "lang": "mix"}]
)
def test_every_problem_can_be_solved(keys):
    for prompt in made(**keys):
        gold = json.loads(prompt.gold)
        solution = prompt.columns["solution"]
        used = [int(number) for number in re.findall(r"\d+", solution)]
        assert sorted(used) == sorted(gold["numbers"])
        assert worth(ast.parse(solution, mode="eval")) == gold["target"]
        assert prompt.kind == "countdown"


def test_bounds():
    for prompt in made(numbers="3-5", largest="20", max_target="30"):
        gold = json.loads(prompt.gold)
        assert set(gold) == {"numbers", "target"}
        assert 3 <= len(gold["numbers"]) <= 5
        assert all(1 <= number <= 20 for number in gold["numbers"])
        assert 1 <= gold["target"] <= 30


def test_the_question_shows_numbers_and_target():
    for prompt in made(lang="mix"):
        gold = json.loads(prompt.gold)
        shown = [int(number) for number in re.findall(r"\d+", prompt.question)]
        assert sorted(shown) == sorted([*gold["numbers"], gold["target"]])
        assert bool(re.search("[一-鿿]", prompt.question)) == (prompt.lang == "zh")


def test_the_order_of_the_numbers_does_not_make_another_problem():
    assert countdown.canonical([7, 2, 3], 42) == "countdown:2,3,7=42"
    assert countdown.is_heldout([7, 2, 3], 42) == countdown.is_heldout([3, 7, 2], 42)


def test_train_and_heldout_never_meet():
    def seen(prompts):
        golds = [json.loads(prompt.gold) for prompt in prompts]
        return {(tuple(sorted(gold["numbers"])), gold["target"]) for gold in golds}

    train = seen(made(n=1000, numbers="3", largest="9"))
    heldout = seen(made("heldout", n=60, numbers="3", largest="9", seed="4", lang="zh"))
    assert len(train) == 1000
    assert len(heldout) == 60
    assert train.isdisjoint(heldout)


def test_tight_bounds_end():
    prompts = made(numbers="6", largest="1000", max_target="10", n=20)
    assert all(json.loads(prompt.gold)["target"] <= 10 for prompt in prompts)


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"number": "3"}, "did you mean 'numbers'"),
        ({"numbers": "2"}, "3 to 6"),
        ({"numbers": "4-7"}, "3 to 6"),
        ({"largest": "2"}, "3 to 1000"),
        ({"max_target": "5"}, "10 to"),
        ({"ops": "*"}, "write +"),
        ({"lang": "de"}, "en, zh or mix"),
    ],
)
def test_settings_that_are_refused(keys, said):
    with pytest.raises(ConfigError) as error:
        made(**keys)
    assert said in str(error.value)

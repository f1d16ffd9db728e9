import ast
import hashlib
import operator
import re
from random import Random

import pytest

from aha.data.query import settings
from aha.data.tasks import TASKS, arithmetic, problems
from aha.data.tasks.arithmetic import Settings
from aha.errors import ConfigError

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def worth(node: ast.AST) -> int:
    """Python's own parser as the independent reference of precedence and value."""
    if isinstance(node, ast.Expression):
        return worth(node.body)
    if isinstance(node, ast.Constant):
        return node.value
    return OPERATORS[type(node.op)](worth(node.left), worth(node.right))


def made(split="train", n=200, **keys):
    task = TASKS["arithmetic"]
    return problems(task, settings(task.settings, keys, where="arithmetic"), split=split, n=n)[0]


@pytest.mark.parametrize("difficulty", range(1, 9))
def test_gold_is_what_python_computes(difficulty):
    prompts = made(difficulty=str(difficulty), n=60, lang="mix")
    for prompt in prompts:
        expression = prompt.columns["expression"]
        assert expression in prompt.question
        assert int(prompt.gold) == worth(ast.parse(expression, mode="eval"))
        assert prompt.kind == "math"


def test_the_default_is_three_small_numbers():
    for prompt in made():
        numbers = [int(number) for number in re.findall(r"\d+", prompt.columns["expression"])]
        assert len(numbers) == 3
        assert all(1 <= number <= 99 for number in numbers)
        assert int(prompt.gold) >= 0
        assert prompt.lang == "en"
        assert prompt.question.isascii()


def test_all_signs_occur():
    signs = "".join(prompt.columns["expression"] for prompt in made())
    assert {"+", "-", "*"} <= set(signs)


def test_text_keeps_the_tree_apart():
    assert arithmetic.text(("-", 7, ("-", 5, 2))) == "7 - (5 - 2)"
    assert arithmetic.text(("-", ("-", 7, 5), 2)) == "7 - 5 - 2"
    assert arithmetic.text(("*", ("+", 7, 5), 2)) == "(7 + 5) * 2"
    assert arithmetic.text(("+", 7, ("*", 5, 2))) == "7 + 5 * 2"
    assert arithmetic.lowest(("+", ("-", 3, 5), 9)) == -2


def test_items_are_pure_functions_of_settings_and_index():
    before = [arithmetic.item(Settings(seed=5, lang="mix"), index) for index in range(20)]
    Random(0).random()
    after = [arithmetic.item(Settings(seed=5, lang="mix"), index) for index in reversed(range(20))]
    assert before == after[::-1]
    assert before != [arithmetic.item(Settings(seed=6, lang="mix"), index) for index in range(20)]


def test_train_and_heldout_never_meet_whatever_the_seed():
    train = {p.columns["expression"] for p in made(n=1500, difficulty="2")}
    heldout = {
        p.columns["expression"] for p in made("heldout", n=300, difficulty="2", seed="9", lang="zh")
    }
    assert len(train) == 1500
    assert train.isdisjoint(heldout)


def test_the_split_is_the_sha256_of_the_canonical_form():
    digest = hashlib.sha256(b"arithmetic:27+35-12").digest()
    expected = int.from_bytes(digest[:8], "big") % 10 == 0
    assert arithmetic.is_heldout("27 + 35 - 12") is expected
    assert arithmetic.is_heldout("27+35 − 12") is expected
    assert arithmetic.canonical("3 × 4") == arithmetic.canonical("3*4")
    share = sum(arithmetic.is_heldout(f"{a} + {b}") for a in range(100) for b in range(100)) / 1e4
    assert share == pytest.approx(0.1, abs=0.012)  # four standard deviations


def test_ids_are_unique_and_stable():
    prompts = made(n=300)
    assert len({prompt.id for prompt in prompts}) == 300
    assert prompts[:100] == made(n=100)


def test_languages():
    assert all(re.search("[一-鿿]", p.question) or "= ?" in p.question for p in made(lang="zh"))
    langs = [prompt.lang for prompt in made(lang="mix")]
    assert 60 < langs.count("zh") < 140


def test_nobody_can_tell_the_language_of_a_wordless_question():
    mixed = made(lang="mix")
    assert all((prompt.lang == "") == prompt.question.endswith(" = ?") for prompt in mixed)
    assert 10 < sum(prompt.lang == "" for prompt in mixed) < 60
    assert {prompt.lang for prompt in made(lang="zh")} == {"zh"}  # asked for: nothing to guess


def test_explicit_keys():
    for prompt in made(terms="2-4", digits="3", ops="+", n=100):
        expression = prompt.columns["expression"]
        assert set(expression) <= set("0123456789+ ")
        assert 2 <= len(expression.split(" + ")) <= 4
    for prompt in made(ops="×", terms="2", factor="5", n=10):
        assert re.fullmatch(r"[2-5] \* [2-5]", prompt.columns["expression"])
    assert any(int(p.gold) < 0 for p in made(ops="-", terms="2", negative="true"))
    assert any("(" in p.columns["expression"] for p in made(parens="true", terms="4"))


def test_a_small_space_gives_what_there_is():
    prompts, drawn = problems(
        TASKS["arithmetic"], Settings(terms=(2, 2), ops="*", factor=4), split="train", n=1000
    )
    assert 1 <= len(prompts) <= 9  # 2, 3, 4 times 2, 3, 4
    assert drawn > 10_000


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"term": "3"}, "did you mean 'terms'"),
        ({"difficulty": "9"}, "1 to 8"),
        ({"terms": "1"}, "2 to 12"),
        ({"terms": "5-3"}, "smaller first"),
        ({"digits": "7"}, "1 to 6"),
        ({"ops": "+/"}, "some of + - *"),
        ({"lang": "fr"}, "en, zh or mix"),
        ({"parens": "maybe"}, "true or false"),
        ({"factor": "1"}, "2 to"),
        ({"ops": "-", "terms": "6"}, "negative=true"),
    ],
)
def test_settings_that_are_refused(keys, said):
    with pytest.raises(ConfigError) as error:
        made(**keys)
    assert said in str(error.value)

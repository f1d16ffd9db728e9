"""Programs to be predicted: Python itself runs the text that is shown, and must find the gold."""

import ast
import json
import re
from collections import Counter

import pytest

from aha.data.golds import own_answer
from aha.data.query import settings
from aha.data.tasks import TASKS, canonical, code_io, problems
from aha.errors import ConfigError

BLOCK = re.compile(r"```python\n(.*?)\n```", re.DOTALL)
ASKED = re.compile(r"(?:value of|value does|程序后，|变量) ?(\w)")


def made(split="train", n=200, **keys):
    task = TASKS["code_io"]
    return problems(task, settings(task.settings, keys, where="code_io"), split=split, n=n)[0]


@pytest.mark.parametrize("level", ["1", "2", "3"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_gold_is_what_python_finds(level, lang):
    for prompt in made(level=level, lang=lang):
        gold = json.loads(prompt.gold)
        space = {}
        exec(BLOCK.search(prompt.question)[1], space)  # our own text
        name = ASKED.search(prompt.question)[1]
        assert gold.keys() == {"form", "value"}
        assert gold["form"] == "output"
        assert repr(space[name]) == gold["value"]
        assert ast.literal_eval(gold["value"]) == space[name]
        assert (prompt.kind, own_answer(prompt)) == ("code_io", gold["value"])
        assert len(prompt.question) < 400
        assert bool(re.search("[一-鿿]", prompt.question)) == (lang == "zh")


def test_levels_are_what_they_say():
    assert all("for" not in p.question.split("```")[1] for p in made(level="1"))
    assert all(len(re.findall("for|while", p.columns["program"])) == 1 for p in made(level="2"))
    third = [p.columns["program"] for p in made(level="3")]
    assert {type(ast.literal_eval(json.loads(p.gold)["value"])) for p in made(level="3")} == {
        int,
        str,
        list,
    }
    assert all(re.search(r"append|c in|c ==|c >|for j", program) for program in third)


@pytest.mark.parametrize("level", ["1", "2", "3"])
def test_no_fixed_answer_pays(level):
    golds = Counter(prompt.gold for prompt in made(level=level, n=500))
    assert golds.most_common(1)[0][1] < 75


def test_programs_that_do_not_end_or_grow_are_not_asked():
    endless = [("set", "a", 5), ("while", (">", ("name", "a"), 1), [("set", "a", 5)])]
    growing = [("set", "a", 99), ("set", "a", ("*", ("name", "a"), ("name", "a"))),
               ("set", "a", ("*", ("name", "a"), 2))]  # fmt: skip
    for program in (endless, growing):
        with pytest.raises(code_io._Unfit):
            code_io.run(program)


def test_the_text_keeps_the_tree_apart():
    a, b = ("name", "a"), ("name", "b")
    program = [("set", "c", ("-", a, ("-", b, 2))), ("set", "d", ("back", ("+", a, b)))]
    assert code_io.text(program) == "c = a - (b - 2)\nd = (a + b)[::-1]"


def test_train_and_heldout_never_meet_whatever_seed_and_language():
    train = {canonical(prompt) for prompt in made(n=600)}
    heldout = {canonical(prompt) for prompt in made("heldout", n=90, seed="3", lang="zh")}
    assert (len(train), len(heldout)) == (600, 90)
    assert train.isdisjoint(heldout)
    for prompt in made("heldout", n=10):
        assert code_io.is_heldout(prompt.columns["program"], prompt.columns["name"])


def test_items_are_pure_functions_of_settings_and_index():
    chosen = code_io.Settings(seed=5, lang="mix", level=(1, 3))
    before = [code_io.item(chosen, index) for index in range(20)]
    assert before == [code_io.item(chosen, index) for index in reversed(range(20))][::-1]
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

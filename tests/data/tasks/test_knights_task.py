"""Puzzles are read back from their questions and solved here by trying everything."""

import json
import re
from itertools import permutations, product

import pytest

from aha.data.query import settings
from aha.data.tasks import TASKS, canonical, knights, problems
from aha.errors import ConfigError

SAID = {"en": re.compile(r'(\w+) says: "(.*?)\."'), "zh": re.compile("([^。：？”]+?)说：“(.*?)。”")}
JOINS = {
    "en": ((" if and only if ", "iff"), (" or ", "or")),
    "zh": (("，当且仅当", "iff"), ("，或者", "or"), ("，并且", "and")),
}


def made(split="train", n=60, **keys):
    task = TASKS["knights"]
    return problems(task, settings(task.settings, keys, where="knights"), split=split, n=n)[0]


def meaning(text, speaker, lang, who):
    """Whether a statement is true, from its words alone; `who` says who is a knight."""
    for words, join in JOINS[lang]:
        if words in text:
            a, b = (meaning(part, speaker, lang, who) for part in text.split(words))
            return {"iff": a == b, "or": a or b, "and": a and b}[join]
    simple = r"(\w+) (?:is|am) a (knight|knave)" if lang == "en" else r"(\w+?)是(骑士|无赖)"
    pair = (
        r"(\w+) and (\w+) are of (the same kind|different kinds)"
        if lang == "en"
        else r"(\w+?)和(\w+?)(是|不是)同一类人"
    )
    of = {**who, "I": who[speaker], "我": who[speaker]}
    if found := re.fullmatch(simple, text):
        return of[found[1]] == (found[2] in ("knight", "骑士"))
    if found := re.fullmatch(pair, text):
        return (of[found[1]] == of[found[2]]) == (found[3] in ("the same kind", "是"))
    assert lang == "en", text  # "and" joins two statements, after those that hold one themselves
    for place in [found.start() for found in re.finditer(" and ", text)]:
        left, right = text[:place], text[place + 5 :]
        if all(re.fullmatch(simple, side) or re.fullmatch(pair, side) for side in (left, right)):
            return all(meaning(side, speaker, lang, who) for side in (left, right))
    raise AssertionError(text)


def solved(question, lang):
    """Every assignment of the speakers that fits the question's words."""
    said = SAID[lang].findall(question)
    names = [name for name, _ in said]
    fits = []
    for assigned in product((True, False), repeat=len(names)):
        who = dict(zip(names, assigned, strict=True))
        if all(meaning(text, name, lang, who) == who[name] for name, text in said):
            fits.append(who)
    return fits


@pytest.mark.parametrize("people", ["2", "3", "4"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_gold_is_the_only_solution_of_the_words(people, lang):
    prompts = made(people=people, lang=lang, n=25 if people == "2" else 60)
    for prompt in prompts:
        gold = json.loads(prompt.gold)
        assert solved(prompt.question, lang) == [
            dict(zip(gold["names"], gold["solution"], strict=True))
        ]
        assert len(gold["names"]) == int(people)
        assert (prompt.kind, prompt.lang) == ("knights", lang)
        assert ("knave" in prompt.question) == (lang == "en") != ("无赖" in prompt.question)
        assert len(prompt.question) < 600


def test_no_fixed_answer_pays():
    """All solutions occur, none of them often."""
    golds = [tuple(json.loads(p.gold)["solution"]) for p in made(people="3", n=400)]
    assert len(set(golds)) == 8
    assert max(golds.count(gold) for gold in set(golds)) < 100


def test_nobody_says_only_who_he_is_himself():
    for prompt in made(n=200):
        for speaker, statement in enumerate(prompt.columns["statements"]):
            assert statement[:2] != ["is", speaker]


def renamed(statement, order):
    if isinstance(statement[1], int):
        people = [order[part] for part in statement[1:-1]]
        return [statement[0], *people, statement[-1]]
    return [statement[0], *(renamed(part, order) for part in statement[1:])]


def test_neither_order_nor_words_make_another_problem():
    for prompt in made(people="3", n=20):
        statements = prompt.columns["statements"]
        form = knights.canonical(statements)
        assert canonical(prompt) == form
        for order in permutations(range(3)):
            other = [None] * 3
            for old, new in enumerate(order):
                other[new] = renamed(statements[old], order)
            assert knights.canonical(other) == form
    same = [["iff", ["is", 0, True], ["is", 1, True]], ["is", 0, False]]
    assert knights.canonical(same) == knights.canonical([["same", 1, 0, True], ["is", 0, False]])
    assert knights.canonical(same) != knights.canonical([["same", 1, 0, False], ["is", 0, False]])


def test_train_and_heldout_never_meet_whatever_seed_and_language():
    train = {canonical(prompt) for prompt in made(n=400)}
    heldout = {canonical(prompt) for prompt in made("heldout", n=60, seed="3", lang="zh")}
    assert (len(train), len(heldout)) == (400, 60)
    assert train.isdisjoint(heldout)
    assert all(knights.is_heldout(p.columns["statements"]) for p in made("heldout", n=20))


def test_items_are_pure_functions_of_settings_and_index():
    chosen = knights.Settings(seed=5, lang="mix")
    before = [knights.item(chosen, index) for index in range(20)]
    assert before == [knights.item(chosen, index) for index in reversed(range(20))][::-1]
    assert {item.prompt.lang for item in before} == {"en", "zh"}


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"people": "1"}, "2 to 4"),
        ({"people": "5"}, "2 to 4"),
        ({"people": "3-2"}, "smaller first"),
        ({"peple": "3"}, "did you mean 'people'"),
        ({"lang": "fr"}, "en, zh or mix"),
    ],
)
def test_settings_that_are_refused(keys, said):
    with pytest.raises(ConfigError) as error:
        made(**keys)
    assert said in str(error.value)

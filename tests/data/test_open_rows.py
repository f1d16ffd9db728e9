"""Prompts without a right answer, as files of prompts and of preferences have them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.config import DataConfig
from aha.data import golds, open_rows
from aha.data.areas import area
from aha.data.cells import Unusable
from aha.data.preferences import pair_of
from aha.data.sources import load
from aha.errors import ConfigError, DataError

HH = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: how?\n\nAssistant:"
THREE = "User: hi\n\nAssistant: yes?\n\nUser: how?"


@pytest.mark.parametrize(
    "asked, question",
    [
        (" Thank a colleague.\n", "Thank a colleague."),
        ("\n\nHuman: Thank a colleague.\n\nAssistant:", "Thank a colleague."),
        (HH, THREE),
        (
            HH + " like this",
            THREE,
        ),  # `chosen` of a preference: the answer is no part of the question
        ([{"role": "user", "content": "hi"}], "hi"),
        ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}], "hi"),
        (
            [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "yes?"},
                {"role": "user", "content": "how?"},
            ],
            THREE,
        ),
        ("Human: is a species.", "is a species."),  # one turn, and it is the question
    ],
)
def test_the_question(asked, question):
    assert open_rows.question(asked, "prompt") == question


def test_it_is_the_question_that_reward_models_learned():
    """What RL asks is written as what the reward model was trained on (preferences.py)."""
    row = {"chosen": HH + " so", "rejected": HH + " no"}
    assert open_rows.question(row["chosen"], "chosen") == pair_of(row, {}, spare_id="x").question


@pytest.mark.parametrize(
    "asked",
    [
        "", " \n", None, 7, [], ["hi"], [{"content": "hi"}],
        [{"role": "tool", "content": "hi"}],
        [{"role": "assistant", "content": "hi"}],
        [{"role": "user", "content": ""}],
        "\n\nHuman: \n\nAssistant: hi",
        "half \ud800", "NUL \0",
    ],
)  # fmt: skip
def test_what_holds_no_question_is_broken(asked):
    with pytest.raises(Unusable):
        open_rows.question(asked, "prompt")


@given(st.one_of(st.text(), st.lists(st.dictionaries(st.text(), st.text()))))
def test_any_value_is_a_question_or_broken(asked):
    for value in (asked, f"Human:{asked}", f"\n\nHuman: {asked}\n\nAssistant: {asked}"):
        try:
            question = open_rows.question(value, "prompt")
        except Unusable:
            continue
        assert question == question.strip() != ""


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def loaded(source):
    return load(str(source), split="train", config=DataConfig(train="x"))


def test_a_file_of_prompts_needs_no_gold(tmp_path):
    path = write(tmp_path / "p.jsonl", {"prompt": "How?"}, {"prompt": "Why?", "note": 1})
    found = loaded(f"{path}?kind=open&area=helpful")
    assert [(p.question, p.gold, p.kind) for p in found.prompts] == [
        ("How?", "", "open"),
        ("Why?", "", "open"),
    ]
    assert {area(p) for p in found.prompts} == {"helpful"}
    assert found.mapping == {"question": "prompt"}


def test_a_file_of_preferences_is_one_of_prompts(tmp_path):
    path = write(tmp_path / "hh.jsonl", {"chosen": HH + " so", "rejected": HH + " no"})
    [prompt] = loaded(f"{path}?kind=open&area=harmless").prompts
    assert (prompt.question, prompt.domain) == (THREE, "harmless")


def test_a_reference_for_judges_may_stand_there(tmp_path):
    path = write(
        tmp_path / "p.jsonl",
        {"prompt": "How?", "gold": "So.", "answer": "no gold of ours"},
        {"prompt": "Why?"},
    )
    assert [p.gold for p in loaded(f"{path}?kind=open").prompts] == ["So.", ""]
    [first] = loaded(f"{path}?kind=open&gold=answer&n=1").prompts
    assert first.gold == "no gold of ours"


def test_rows_say_themselves_that_they_are_open(tmp_path):
    path = write(
        tmp_path / "p.jsonl",
        {"question": "How?", "kind": "open", "domain": "helpful"},
        {"question": "Who?", "kind": "open"},
        {"question": "2 + 2", "kind": "math", "gold": "4"},
    )
    found = loaded(path)
    assert [(p.kind, p.gold, area(p)) for p in found.prompts] == [
        ("open", "", "helpful"),
        ("open", "", "general"),
        ("math", "4", "math"),
    ]


def test_other_kinds_still_need_a_gold(tmp_path):
    path = write(tmp_path / "p.jsonl", {"prompt": "How?"})
    with pytest.raises(DataError, match="no column is known to hold the gold"):
        loaded(path)
    mixed = write(
        tmp_path / "m.jsonl",
        *({"question": f"{n}?", "kind": "open"} for n in range(200)),
        {"question": "2 + 2", "kind": "math"},
    )
    [bad] = loaded(mixed).bad
    assert "no column holds the gold of kind 'math'" in bad.reason


@pytest.mark.parametrize(
    "keys, said",
    [
        ("area=helpfull", "write math, code"),
        ("area=helpful&domain=topic", "give one"),
    ],
)
def test_an_area_that_cannot_be(tmp_path, keys, said):
    path = write(tmp_path / "p.jsonl", {"prompt": "How?", "topic": "x"})
    with pytest.raises(ConfigError, match=said):
        loaded(f"{path}?kind=open&{keys}")


def test_an_area_is_for_other_kinds_too(tmp_path):
    path = write(tmp_path / "p.jsonl", {"question": "2 + 2", "gold": "4"})
    [prompt] = loaded(f"{path}?area=logic").prompts
    assert area(prompt) == "logic"


def test_no_answer_of_such_a_prompt_is_its_own(tmp_path):
    """Preflight and `aha data check` try golds: a column `solution` is none here."""
    path = write(tmp_path / "p.jsonl", {"prompt": "How?", "solution": "1 + 1"})
    [prompt] = loaded(f"{path}?kind=open").prompts
    assert golds.own_answer(prompt) is None

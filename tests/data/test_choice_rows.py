"""Options: which are shown, which is right, rows where that is not clear. Golds are by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.config import DataConfig
from aha.data import columns
from aha.data.cells import Unusable
from aha.data.choice_rows import LETTERS, Options, right_of
from aha.data.golds import own_answer
from aha.data.readers import BadRow, Row
from aha.data.sources import load
from aha.errors import ConfigError

Q = "What is red?"
FOUR = ["sky", "grass", "blood", "snow"]
SHOWN = "What is red?\n\nA. sky\nB. grass\nC. blood\nD. snow"


def one(value, spare="x-7", **keys):
    made = columns.bind([value], keys, where="x.jsonl")
    return made.prompt(Row("x.jsonl", 7, value), spare_id=spare, source="x.jsonl")


LAYOUTS = {
    "letter": {"choices": FOUR, "answer": "C"},
    "letter in brackets": {"choices": FOUR, "answer": "(C)"},
    "letter and full stop": {"choices": FOUR, "answer": "c."},
    "place": {"choices": FOUR, "answer": 2},
    "place as text": {"options": FOUR, "answer": "2"},
    "text": {"options": FOUR, "answer": " blood "},
    "letter and text": {"options": FOUR, "answer": "C. blood"},
    "gold column": {"options": FOUR, "gold": "C"},
    "text and place": {"options": FOUR, "answer": "blood", "answer_idx": "C"},
    "by letter": {"options": dict(zip("ABCD", FOUR, strict=True)), "answer": "C"},
    "by letter, with nulls": {
        "options": {"A": "sky", "B": "grass", "C": "blood", "D": "snow", "E": None},
        "answer": "C",
    },
    "columns": {**dict(zip("ABCD", FOUR, strict=True)), "E": "", "answer": "C"},
    "labels": {"choices": {"text": FOUR, "label": ["1", "2", "3", "4"]}, "answerKey": "3"},
    "labels are letters": {"choices": {"text": FOUR, "label": list("ABCD")}, "answerKey": "C"},
    "labelled": {"options": ["A) sky", "B)grass", "(C) blood", "D. snow"], "answer": "C"},
    "in JSON": {"options": json.dumps(FOUR), "answer": "C"},
    "own form": {"gold": {"answer": "C", "options": FOUR}, "kind": "choice"},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_known_layouts(name):
    prompt = one({"question": Q, **LAYOUTS[name]})
    assert prompt.kind == "choice"
    assert prompt.question == SHOWN
    assert json.loads(prompt.gold) == {"answer": "C", "options": FOUR}
    assert own_answer(prompt) == "C"
    assert not {"choices", "options", "A", "B"} & prompt.columns.keys()


@pytest.mark.parametrize(
    "answer, letters",
    [
        ("BD", "BD"),
        ("B, D", "BD"),
        ("D和B", "BD"),
        (["B", "D"], "BD"),
        ([1, 3], "BD"),
        ("B and D", "BD"),
    ],
)
def test_several_right_letters_are_kept(answer, letters):
    prompt = one({"question": Q, "choices": FOUR, "answer": answer})
    assert json.loads(prompt.gold)["answer"] == letters


def test_a_question_that_shows_its_options_is_left_alone():
    for question in (
        SHOWN,
        "红的是(  )\nA．sky B、grass (C)blood D:snow",
        "Q (A) sky (B) grass (C) blood (D) snow",
    ):
        prompt = one({"question": question, "choices": FOUR, "answer": "C"})
        assert prompt.question == question
        assert json.loads(prompt.gold)["options"] == FOUR
    partly = one({"question": "A. sky or what?", "choices": FOUR, "answer": "C"})
    assert partly.question.endswith("D. snow")


def test_letters_alone_are_enough_where_the_question_shows_the_options():
    value = {"question": SHOWN, "answer": "blood red", "choice": "C", "kind": "choice"}
    assert one(value).gold == "C"
    assert one({"question": SHOWN, "answer": "BD"}, kind="choice").gold == "BD"


def test_numbers_as_options():
    values = {"question": Q, "choices": ["4", "8", "2", "1"]}
    assert json.loads(one({**values, "answer": 0}).gold)["answer"] == "A"  # an int is a place
    assert json.loads(one({**values, "answer": 1}).gold)["answer"] == "B"
    assert json.loads(one({**values, "answer": "8"}).gold)["answer"] == "B"  # no place 8
    assert json.loads(one({**values, "answer": "2"}).gold)["answer"] == "C"  # place and text agree
    assert "several" in one({**values, "answer": "1"}, kind="choice").reason  # place B or text D?
    raw = {"question": Q, "choices": [4, 8, 2, 1], "answer": 1}
    assert "several" in one(raw, kind="choice").reason
    assert json.loads(one({**raw, "answer": 2}).gold)["answer"] == "C"


BROKEN = {
    "letter out of range": ({"choices": FOUR, "answer": "E"}, "none of the 4 options"),
    "one letter of several": ({"choices": FOUR, "answer": "AE"}, "none of the"),
    "letter twice": ({"choices": FOUR, "answer": "AA"}, "none of the"),
    "place out of range": ({"choices": FOUR, "answer": 4}, "none of the"),
    "negative place": ({"choices": FOUR, "answer": -1}, "none of the"),
    "another text": ({"choices": FOUR, "answer": "rust"}, "none of the"),
    "letter with another text": ({"choices": FOUR, "answer": "C. snow"}, "none of the"),
    "text is another letter": ({"choices": ["B", "A"], "answer": "A"}, "several of the"),
    "the right one twice": ({"choices": ["x", "y", "x"], "answer": "A"}, "A and C are the same"),
    "text twice": ({"choices": ["x", "y", "x"], "answer": "x"}, "A and C are the same"),
    "eleven": ({"choices": list("klmnopqrstu"), "answer": "A"}, "11 of them, 2 to 10"),
    "one": ({"choices": ["x"], "answer": "A"}, "1 of them"),
    "none": ({"choices": [], "answer": "A"}, "0 of them"),
    "empty option": ({"choices": ["x", " "], "answer": "A"}, "options: B: empty"),
    "null option": ({"choices": ["x", None], "answer": "A"}, "options: B: wrong type: null"),
    "NUL": ({"choices": ["x", "a\0"], "answer": "A"}, "options: B: NUL byte"),
    "surrogate": ({"choices": ["x", "\udc00"], "answer": "A"}, "options: B: lone surrogate"),
    "list in it": ({"choices": ["x", ["y"]], "answer": "A"}, "options: B: wrong type: list"),
    "text": ({"choices": "x or y", "answer": "A"}, "wrong type: str, a list"),
    "number": ({"choices": 5, "answer": "A"}, "wrong type: int, a list"),
    "odd keys": ({"choices": {"A": "x", "C": "y"}, "answer": "A"}, "needs the keys"),
    "labels of another length": (
        {"choices": {"text": FOUR, "label": ["1", "2"]}, "answer": "1"}, "one label for each"),
    "label that is not there": (
        {"choices": {"text": FOUR, "label": list("1234")}, "answer": "C"}, "none of the"),
    "a gap": ({"A": "x", "B": "", "C": "z", "answer": "A"}, "between others"),
    "no answer": ({"choices": FOUR, "answer": ""}, "empty"),
    "null answer": ({"choices": FOUR, "answer": None}, "wrong type: null"),
    "true": ({"choices": FOUR, "answer": True}, "wrong type: bool"),
    "empty list": ({"choices": FOUR, "answer": []}, "letters are needed"),
    "nested list": ({"choices": FOUR, "answer": [["A"]]}, "letters are needed"),
    "no options, no letter": ({"answer": "blood"}, "none of the letters A to J"),
    "NaN": ({"choices": FOUR, "answer": float("nan")}, "not a number"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_rows_that_are_not_clear_are_refused(name):
    value, said = {"question": Q, **BROKEN[name][0]}, BROKEN[name][1]
    bad = one(value, kind="choice")
    assert isinstance(bad, BadRow), bad
    assert said in bad.reason


def test_duplicates_among_the_wrong_ones_are_kept():
    prompt = one({"question": Q, "choices": ["x", "y", "x"], "answer": "B"})
    assert json.loads(prompt.gold)["answer"] == "B"


# -- shuffling ------------------------------------------------------------------------------------


def shuffled(number, **more):
    value = {"question": Q, "choices": FOUR, "answer": "C", **more}
    return one(value, spare=f"x-{number}", shuffle="true")


def test_shuffling_moves_the_gold_with_its_option():
    letters = set()
    for number in range(40):
        prompt = shuffled(number)
        gold = json.loads(prompt.gold)
        assert sorted(gold["options"]) == sorted(FOUR)
        assert gold["options"][LETTERS.index(gold["answer"])] == "blood"
        assert f"{gold['answer']}. blood" in prompt.question
        assert prompt == shuffled(number)  # of the id alone
        letters.add(gold["answer"])
    assert letters == set("ABCD")


def test_several_right_ones_move_together():
    for number in range(10):
        gold = json.loads(shuffled(number, answer="AD").gold)
        assert {gold["options"][LETTERS.index(sign)] for sign in gold["answer"]} == {"sky", "snow"}


@pytest.mark.parametrize("last", ["all of the above", "A and B", "Both A & C", "以上都是", "A和B"])
def test_options_that_speak_of_others_keep_their_order(last):
    for number in range(10):
        gold = json.loads(shuffled(number, choices=[*FOUR[:3], last]).gold)
        assert gold["options"] == [*FOUR[:3], last]


def test_options_that_the_question_shows_keep_their_order():
    assert {shuffled(number, question=SHOWN).question for number in range(10)} == {SHOWN}


@given(
    st.lists(st.sampled_from(["x", "y", "z", "b", "A", "10", "1"]), min_size=2, max_size=10),
    st.data(),
)
def test_a_letter_is_right_unless_it_is_an_option_too(texts, data):
    place = data.draw(st.integers(0, len(texts) - 1))
    letter = LETTERS[place]
    if texts.count(texts[place]) > 1 or letter in texts[:place] + texts[place + 1 :]:
        with pytest.raises(Unusable):
            right_of(letter, Options(tuple(texts)), "answer")
    else:
        assert right_of(letter, Options(tuple(texts)), "answer") == {place}


# -- as a source ----------------------------------------------------------------------------------


def test_a_file_is_told_by_its_columns(tmp_path):
    rows = [{"question": f"{Q} {n}", "choices": FOUR, "answer": "ABCD"[n % 4]} for n in range(8)]
    rows.append({"question": Q, "choices": FOUR, "answer": "Z"})
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(heldout="x", max_bad_share=1.0)
    loaded = load(str(path), split="train", config=config)
    assert (loaded.read, len(loaded.prompts), len(loaded.bad)) == (9, 8, 1)
    assert loaded.notes == ["kind choice, told by the columns; kind= names another"]
    moved = load(f"{path}?shuffle=true", split="train", config=config)
    assert [p.gold for p in moved.prompts] != [p.gold for p in loaded.prompts]
    as_text = load(f"{path}?kind=exact", split="train", config=config)
    assert (as_text.prompts[0].gold, as_text.prompts[0].question) == ("A", f"{Q} 0")


def test_half_of_the_rows_decide():
    choice, text = {"question": Q, "choices": FOUR, "answer": "A"}, {"question": Q, "answer": "7"}
    assert columns.bind([choice, choice, text], {}, where="x").found == "choice"
    assert columns.bind([choice, text, text], {}, where="x").found == ""
    unclear = {"question": Q, "choices": FOUR, "answer": "a long story"}
    assert columns.bind([unclear], {}, where="x").found == ""


@pytest.mark.parametrize(
    "query, said",
    [
        ("?shuffle=perhaps", "true or false"),
        ("?shuffle=true&kind=math", "for kind=choice"),
        ("?shufle=true", "did you mean 'shuffle'"),
    ],
)
def test_keys_that_cannot_be(tmp_path, query, said):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"question": Q, "choices": FOUR, "answer": "A"}) + "\n")
    with pytest.raises(ConfigError, match=said):
        load(f"{path}{query}", split="train", config=DataConfig())

"""Dialogues of people through the filters: their turns stay, their answers get the common form."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aha.data import written
from aha.data.dialogues import Dialogue
from aha.data.selecting import Rules, select
from aha.records import Prompt

RULES = Rules(per_prompt=0, correct=False, bare=True)


def said(*texts, name="d", domain="general", **more):
    roles = ("user", "assistant") * len(texts)
    return Dialogue(id=name, messages=tuple(zip(roles, texts, strict=False)), domain=domain, **more)


def through(*dialogues, rules=RULES, heldout=()):
    samples = written.samples(dialogues)
    found = select(samples, rules, heldout)
    return written.rows(dialogues, samples, found.rows), found


def test_an_answer_without_thinking_gets_an_empty_part():
    [row], _ = through(said("Who are you?", "A model that runs here."))
    assert row == {
        "id": "d",
        "question": "Who are you?",
        "response": "<think>\n\n</think>\n\nA model that runs here.",
        "domain": "general",
        "area": "general",
        "source": "",
        "from": {"policy": "written"},
    }


def test_thinking_of_the_writer_is_kept_unless_the_question_is_trivial():
    text = "<think>\nA name is asked.\n</think>\n\nI am a model."
    long, short = said("Tell me who you are, please.", text, name="a"), said("hi", text, name="b")
    rows, _ = through(long, short, rules=Rules(**_auto()))
    assert [row["response"] == text for row in rows] == [True, False]


def _auto():
    return {"per_prompt": 0, "correct": False, "bare": True, "think": "auto"}


def test_every_turn_stays():
    [row], _ = through(said("a word", "first", "and another", "second"))
    assert "question" not in row
    assert [(turn["role"], turn["content"]) for turn in row["messages"]] == [
        ("user", "a word"),
        ("assistant", "first"),
        ("user", "and another"),
        ("assistant", "<think>\n\n</think>\n\nsecond"),
    ]


def test_the_filters_apply():
    held = Prompt(id="h", question="one two three four five six seven eight nine ten", gold="")
    rows, found = through(
        said("Say something nice.", "Ten words: one two three four five six seven eight nine ten."),
        said("A question?", "broken \ufffd sign", name="e"),
        heldout=[held],
    )
    assert rows == []
    assert [one.reason for one in found.decisions] == ["contaminated", "garbled"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "a~2", "a~2~2"]), max_size=12))
def test_every_dialogue_has_a_name_of_its_own(ids):
    dialogues = [said(f"question {i}", f"answer {i}", name=one) for i, one in enumerate(ids)]
    rows, _ = through(*dialogues)
    assert len({row["id"] for row in rows}) == len(ids)
    asked = {row["question"] for row in rows}
    assert asked == {f"question {i}" for i in range(len(ids))}

"""Pairs and labels from rows as public data sets write them; every row counted."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.config import DataConfig
from aha.data import preferences
from aha.data.preferences import load_labelled, load_pairs, transcript
from aha.errors import ConfigError, DataError

USER = {"role": "user", "content": "What is 1+1?"}
GOOD, BAD = {"role": "assistant", "content": "2"}, {"role": "assistant", "content": "3"}


def made(value, **named):
    return preferences.pair_of(value, named, spare_id="a-7")


def labelled(value, **named):
    return preferences.labelled_of(value, named, spare_id="a-7")


def content(pair):
    return pair.question, pair.chosen, pair.rejected


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "What is 1+1?", "chosen": "2", "rejected": "3"},
        {"question": " What is 1+1?\n", "chosen": "2 ", "rejected": "3"},
        {"prompt": [USER], "chosen": "2", "rejected": "3"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        # UltraFeedback: the dialogue, and its question once more
        {"prompt": "What is 1+1?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"conversations": 0, "prompt": [{"from": "human", "value": "What is 1+1?"}],
         "chosen": {"from": "gpt", "value": "2"}["value"], "rejected": "3"},
        {"chosen": "\n\nHuman: What is 1+1?\n\nAssistant: 2",
         "rejected": "\n\nHuman: What is 1+1?\n\nAssistant: 3"},
        {"prompt": "\n\nHuman: What is 1+1?\n\nAssistant:", "chosen": " 2", "rejected": " 3"},
        {"prompt": "\n\nHuman: What is 1+1?\n\nAssistant:",
         "chosen": "\n\nHuman: What is 1+1?\n\nAssistant: 2",
         "rejected": "\n\nHuman: What is 1+1?\n\nAssistant: 3"},
        {"question": "What is 1+1?", "response_0": "2", "response_1": "3", "better": 0},
        {"question": "What is 1+1?", "response_0": "3", "response_1": "2", "better": "1"},
        {"prompt": "What is 1+1?", "response_0": "3", "response_1": "2", "better_response_id": 1,
         "safer_response_id": 0},
        {"prompt": "What is 1+1?", "response_0": "3", "response_1": "2", "better": "response_1"},
    ],
)  # fmt: skip
def test_public_forms_are_known(value):
    pair = made(value)
    assert content(pair) == ("What is 1+1?", "2", "3")
    assert (pair.id, pair.domain, pair.root) == ("a-7", "", "What is 1+1?")


def test_columns_may_be_named():
    row = {"q": "a", "win": "b", "lose": "c", "n": 9, "kind": "x", "chosen": "no"}
    pair = made(row, question="q", chosen="win", rejected="lose", id="n", domain="kind")
    assert (*content(pair), pair.id, pair.domain) == ("a", "b", "c", "9", "x")
    two = {"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 0,
           "safer_response_id": 1}  # fmt: skip
    assert made(two).chosen == "b"
    assert made(two, better="safer_response_id").chosen == "c"


# the first dialogue of two turns in HH-RLHF, helpful-base, shortened
HH = (
    "\n\nHuman: How can I find out what types of butterflies are in my area?"
    "\n\nAssistant: Which location are you in?\n\nHuman: I am in Oregon.\n\nAssistant: "
)
HH_QUESTION = (
    "User: How can I find out what types of butterflies are in my area?\n\n"
    "Assistant: Which location are you in?\n\nUser: I am in Oregon."
)


def test_the_history_becomes_the_question():
    pair = made({"chosen": HH + "About 150 species.", "rejected": HH + "Are you interested?"})
    assert content(pair) == (HH_QUESTION, "About 150 species.", "Are you interested?")
    assert pair.root == "How can I find out what types of butterflies are in my area?"
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    pair = made({"prompt": turns, "chosen": "d", "rejected": "e"})
    assert pair.question == "Be brief.\n\nUser: a\n\nAssistant: b\n\nUser: c"
    assert pair.root == "a"
    assert (
        made({"system": "S.", "prompt": "a", "chosen": "b", "rejected": "c"}).question == "S.\n\na"
    )
    one = {"instruction": "Add.", "input": "1, 1", "chosen": "b", "rejected": "c"}
    assert made(one).question == "Add.\n\n1, 1"


def test_an_answer_that_looks_like_a_transcript_is_an_answer():
    """With a question beside it that is another one, nothing is cut out of it."""
    play = "Human: Hello\n\nAssistant: Hi"
    pair = made({"prompt": "Write a dialogue.", "chosen": play, "rejected": "No."})
    assert content(pair) == ("Write a dialogue.", play, "No.")


@pytest.mark.parametrize(
    "value, said",
    [
        ({"prompt": "q", "chosen": "a"}, "no chosen and rejected"),
        ({"chosen": "a", "rejected": "b"}, "no question"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "no question"),
        ({"prompt": "q", "chosen": " ", "rejected": "b"}, "an answer is empty"),
        ({"prompt": "q", "chosen": 3, "rejected": "b"}, "an answer is int"),
        ({"prompt": "\ud800", "chosen": "a", "rejected": "b"}, "lone surrogate"),
        ({"prompt": "q", "chosen": [3], "rejected": [BAD]}, "message 0 is no object"),
        ({"prompt": "another", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "is not what"),
        ({"chosen": HH + "x", "rejected": "\n\nHuman: a\n\nAssistant: b"}, "before the last"),
        ({"chosen": [USER, GOOD, USER], "rejected": [USER, BAD, USER]}, "the last of 3 turns"),
        ({"chosen": [USER, GOOD, GOOD], "rejected": [USER, GOOD, BAD]}, "turn 3 of 3 is 'assistant'"),
        ({"chosen": [], "rejected": [USER, BAD]}, "the last of 0 turns"),
        ({"chosen": HH + "x\n\nHuman: more", "rejected": HH}, "the last of 5 turns"),
        ({"chosen": HH, "rejected": HH + "x"}, "a turn is empty"),
        ({"prompt": "q", "response_0": "a", "response_1": "b"}, "no better"),
        ({"prompt": "q", "response_0": "a", "response_1": "b", "better": 2}, "better is '2'"),
        ({"prompt": "q", "response_0": "a", "response_1": "b", "better": True}, "better is bool"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_broken_with_a_reason(value, said):
    with pytest.raises(preferences._Unusable, match=said):
        made(value)


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "q", "chosen": "a", "rejected": " a\n"},
        {"prompt": "q", "response_0": "a", "response_1": "b", "better": "tie"},
        {"prompt": "q", "response_0": "a", "response_1": "b", "better": -1},
        {"prompt": "q", "response_0": "a", "response_1": "b", "better": None},
    ],
)
def test_without_a_preference_a_row_is_a_tie(value):
    with pytest.raises(preferences._Tie):
        made(value)


@pytest.mark.parametrize(
    "value, safe",
    [
        ({"prompt": "q", "response": "r", "is_safe": True}, True),  # BeaverTails
        ({"question": "q", "answer": "r", "safe": 0}, False),
        ({"prompt": "q", "response": "r", "safe": "false"}, False),
        ({"prompt": "q", "response": "r", "label": "Unsafe"}, False),
        ({"prompt": "q", "response": "r", "label": "safe"}, True),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}],
          "safe": True}, True),
    ],
)  # fmt: skip
def test_labels_in_public_forms(value, safe):
    [one] = labelled(value)
    assert (one.question, one.response, one.safe, one.root) == ("q", "r", safe, "q")


def test_a_row_with_two_labels_gives_two():
    row = {
        "prompt": "q",
        "response_0": "a",
        "response_1": "b",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
    }
    assert [(one.id, one.response, one.safe) for one in labelled(row)] == [
        ("a-7/0", "a", True),
        ("a-7/1", "b", False),
    ]


@pytest.mark.parametrize(
    "label, safe",
    [("unharmful", True), ("harmful", False), ("Toxic", False), ("benign", True), (" safe ", True)],
)
def test_words_of_public_label_columns(label, safe):
    assert (
        labelled({"prompt": "q", "response": "r", "verdict": label}, safe="verdict")[0].safe is safe
    )


@pytest.mark.parametrize("value, safe", [(1, False), (0, True), (True, False), ("false", True)])
def test_a_column_may_say_what_is_not_safe(value, safe):
    """Toxicity, harm: 1 is the bad one."""
    row = {"prompt": "q", "response": "r", "toxicity": value}
    assert labelled(row, unsafe="toxicity")[0].safe is safe


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "q", "response": "r", "safe": None},
        {"prompt": "q", "response": "r", "label": " "},
        {"prompt": "q", "response": None, "is_safe": None},  # rows that label the prompt alone
        {"prompt": "q", "response_0": "a", "response_1": "b", "is_response_0_safe": None,
         "is_response_1_safe": ""},
    ],
)  # fmt: skip
def test_an_empty_label_is_no_label(value):
    """Counted apart from broken rows: public data sets label some of their rows only."""
    with pytest.raises(preferences._Tie):
        labelled(value)


def test_of_two_responses_one_may_be_labelled():
    row = {"prompt": "q", "response_0": "a", "response_1": "b", "is_response_0_safe": None}
    [one] = labelled(row | {"is_response_1_safe": False})
    assert (one.response, one.safe, one.id) == ("b", False, "a-7/1")
    with pytest.raises(preferences._Unusable, match="is_response_1_safe is 'missing'"):
        labelled(row)


def test_a_pair_gives_two_labels_where_that_is_asked_for(tmp_path):
    """HH-RLHF harmless has no labels: people said which of two answers is the less harmful one."""
    hh = {"prompt": [{"role": "user", "content": "q"}], "chosen": "No.", "rejected": "Sure!"}
    path = write(tmp_path / "p.jsonl", [hh | {"id": "a", "domain": "harmless"}])
    loaded = load_labelled(f"{path}?from=pairs", split="train", config=DataConfig())
    assert [(one.id, one.question, one.response, one.safe, one.root) for one in loaded.items] == [
        ("a/0", "q", "No.", True, "q"),
        ("a/1", "q", "Sure!", False, "q"),
    ]
    assert {one.domain for one in loaded.items} == {"harmless"}
    with pytest.raises(
        DataError, match=r"a pair, not a label; for two labels of it write \?from=pa"
    ):
        load_labelled(str(path), split="train", config=DataConfig())
    other = write(tmp_path / "o.jsonl", [{"prompt": "q", "good": "a", "bad": "b"}])
    named = f"{other}?from=pairs&chosen=good&rejected=bad"
    assert len(load_labelled(named, split="train", config=DataConfig()).items) == 2


@pytest.mark.parametrize(
    "keys, said",
    [
        ("from=labels", "from=labels: write from=pairs"),
        ("from=pairs&safe=x", "with from=pairs the pair is the label; leave safe= out"),
        ("chosen=x", "chosen= is of pairs; add from=pairs"),
        ("safe=x&unsafe=y", "write safe= or unsafe="),
    ],
)
def test_keys_of_labels_that_do_not_go_together(tmp_path, keys, said):
    path = write(tmp_path / "l.jsonl", [{"prompt": "q", "response": "r", "safe": True}])
    with pytest.raises(ConfigError, match=said):
        load_labelled(f"{path}?{keys}", split="train", config=DataConfig())


@pytest.mark.parametrize(
    "value, said",
    [
        ({"prompt": "q", "response": "r"}, "no safe, is_safe"),
        # 1 is "toxic" in some data sets, "safe" in others
        ({"prompt": "q", "response": "r", "label": 1}, "no label that says safe or unsafe"),
        ({"prompt": "q", "response": "r", "safe": "maybe"}, "safe is 'maybe'"),
        ({"prompt": "q", "response": "r", "safe": 0.7}, "safe is '0.7'"),
        ({"response": "r", "safe": True}, "no question"),
        ({"prompt": "q", "safe": True}, "no response"),
    ],
)
def test_what_is_no_label_is_broken(value, said):
    with pytest.raises(preferences._Unusable, match=said):
        labelled(value)


def test_a_number_is_believed_in_a_column_that_was_named():
    assert labelled({"prompt": "q", "response": "r", "label": 1}, safe="label")[0].safe


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(i, **more):
    return {"id": f"p{i}", "prompt": f"q{i}", "chosen": "good", "rejected": "bad", **more}


def test_every_row_is_counted(tmp_path):
    rows = [row(0), row(1), row(2), row(3, chosen="bad"), {"prompt": "q"}, row(9) | row(0)]
    path = write(tmp_path / "p.jsonl", rows)
    path.write_text(path.read_text() + "not json\n")
    loaded = load_pairs(str(path), split="train", config=DataConfig(max_bad_share=0.5))
    assert [pair.id for pair in loaded.items] == ["p0", "p1", "p2"]
    assert (loaded.rows, loaded.ties, loaded.repeated, len(loaded.bad)) == (7, 1, 1, 2)
    assert "3 of 7 rows, 1 without a preference, 1 repeated, 2 broken" in loaded.sentence()
    some = load_pairs(f"{path}?n=2", split="train", config=DataConfig())
    assert ([pair.id for pair in some.items], some.rows) == (["p0", "p1"], 2)


def test_a_limit_holds_within_a_row_of_two_labels(tmp_path):
    rows = [
        {"prompt": "q", "response_0": "a", "response_1": f"b{i}", "is_response_0_safe": True,
         "is_response_1_safe": False} for i in range(3)
    ]  # fmt: skip
    path = write(tmp_path / "l.jsonl", rows)
    loaded = load_labelled(str(path), split="train", config=DataConfig())
    assert [one.response for one in loaded.items] == ["a", "b0", "b1", "b2"]  # a is said once
    assert loaded.repeated == 0  # each row still says something new
    three = load_labelled(f"{path}?n=3", split="train", config=DataConfig())
    assert [one.response for one in three.items] == ["a", "b0", "b1"]


def test_a_source_that_cannot_be_used_says_why(tmp_path):
    path = write(tmp_path / "p.jsonl", [row(0), {"prompt": "q", "chosen": "a"}])
    with pytest.raises(DataError, match=r"1 of 2 rows are broken(.|\n)*p.jsonl:2: no chosen and"):
        load_pairs(str(path), split="train", config=DataConfig())
    with pytest.raises(ConfigError, match="did you mean 'rejected'"):
        load_pairs(f"{path}?rejectd=a", split="train", config=DataConfig())
    with pytest.raises(DataError, match="a row needs question, response and safe"):
        load_labelled(str(path), split="train", config=DataConfig())
    write(path, [row(0, chosen="bad")])
    with pytest.raises(DataError, match="1 without a preference"):
        load_pairs(str(path), split="train", config=DataConfig())


TEXT = st.text(alphabet="ab \nHumanAssistant:", min_size=1, max_size=20).filter(
    lambda t: t.strip() and "\n\nHuman:" not in t and "\n\nAssistant:" not in t
)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXT, min_size=2, max_size=6).filter(lambda t: len(t) % 2 == 0), TEXT)
def test_transcripts_and_messages_say_the_same(texts, other):
    """The HH form is read back into the turns that it was written from."""
    roles = ["user", "assistant"] * (len(texts) // 2)
    names = {"user": "Human", "assistant": "Assistant"}
    turns = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
    written = "".join(f"\n\n{names[r]}: {t.strip()}" for r, t in zip(roles, texts, strict=True))
    before = written[: -len(texts[-1].strip())]
    messages = {"chosen": turns, "rejected": [*turns[:-1], {**turns[-1], "content": other}]}
    hh = {"chosen": written, "rejected": before + other.strip()}
    if texts[-1].strip() == other.strip():
        for value in (messages, hh):
            with pytest.raises(preferences._Tie):
                made(value)
    else:
        assert made(messages) == made(hh)


def test_a_transcript_of_one_turn_is_the_turn():
    assert transcript([("user", "a")]) == "a"


def test_shares_are_refused_where_all_is_taken(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    config = DataConfig()
    assert preferences.load_pairs(f"{path}?weight=1", split="train", config=config).items
    with pytest.raises(ConfigError, match=r"weight=: shares are for .*\?n="):
        preferences.load_pairs(f"{path}?weight=3", split="train", config=config)

import json

import pytest

from aha.data.columns import Columns, choose, final_answer
from aha.data.readers import BadRow, Row
from aha.errors import DataError
from aha.records import Prompt


def one(value, chosen=None, **fixed):
    """A single row through choosing and making."""
    mapping = choose([value], chosen or {}, where="x.jsonl")
    row = Row("x.jsonl", 7, value)
    return Columns(mapping, **fixed).prompt(row, spare_id="x-7", source="x.jsonl")


# Layouts of data sets that people have.
LAYOUTS = [
    ({"question": "Q", "answer": "work #### 1,234"}, "1234"),  # GSM8K
    ({"problem": "Q", "solution": "so \\boxed{\\frac{1}{2}}.", "answer": "\\frac12"}, "\\frac12"),
    ({"problem": "Q", "solution": "first \\boxed{1}, so \\boxed{\\frac{1}{2}}."}, "\\frac{1}{2}"),
    ({"prompt": [{"role": "user", "content": "Q"}], "reward_model": {"ground_truth": "7"}}, "7"),
    ({"prompt": "Q", "ground_truth": 7.0, "answer": "long story"}, "7"),
    ({"query": "Q", "final_answer": 0.25}, "0.25"),
    ({"instruction": "Q", "target": ["9"]}, "9"),
    ({"question": " Q\n", "gold": -3}, "-3"),
]


@pytest.mark.parametrize("value, gold", LAYOUTS)
def test_known_layouts(value, gold):
    prompt = one(value)
    assert isinstance(prompt, Prompt)
    assert (prompt.question, prompt.gold, prompt.id, prompt.kind) == ("Q", gold, "x-7", "math")


def test_a_full_row():
    value = {"id": 5, "problem": "Q", "answer": "A", "kind": "exact", "language": "zh",
             "subject": "algebra", "tests": [1, 2]}  # fmt: skip
    assert one(value) == Prompt(
        id="5", question="Q", gold="A", kind="exact", source="x.jsonl", lang="zh",
        domain="algebra", columns={"tests": [1, 2]},
    )  # fmt: skip


def test_the_query_names_columns_and_fixes_kind_and_language():
    value = {"question": "no", "text": "Q", "meta": {"key": "A"}, "kind": "math"}
    prompt = one(value, {"question": "text", "gold": "meta.key"}, kind="exact", lang="en")
    assert (prompt.question, prompt.gold, prompt.kind, prompt.lang) == ("Q", "A", "exact", "en")
    assert prompt.columns["question"] == "no"


def test_a_countdown_gold_may_be_an_object():
    gold = {"numbers": [1, 2, 3], "target": 6}
    prompt = one({"question": "Q", "gold": gold, "kind": "countdown"})
    assert json.loads(prompt.gold) == gold


def test_text_of_kind_exact_is_left_alone():
    assert one({"question": "Q", "answer": "a #### b", "kind": "exact"}).gold == "a #### b"


BROKEN = [
    ({"question": "Q"}, "answer", "missing key"),
    ({"question": "Q", "answer": None}, "answer", "wrong type: null"),
    ({"question": "Q", "answer": ""}, "answer", "empty"),
    ({"question": "Q", "answer": True}, "answer", "wrong type: bool"),
    ({"question": "Q", "answer": {"a": 1}}, "answer", "wrong type: dict"),
    ({"question": "Q", "answer": ["1", "2"]}, "answer", "wrong type: list"),
    ({"question": "Q", "answer": float("nan")}, "answer", "not a number"),
    ({"question": " \n", "answer": "1"}, "question", "empty"),
    ({"question": 5, "answer": "1"}, "question", "wrong type: int"),
    ({"question": "a\0b", "answer": "1"}, "question", "NUL byte"),
    ({"question": "ab\ud83d", "answer": "1"}, "question", "lone surrogate at character 3"),
    ({"question": "a\udcffb", "answer": "1"}, "question", "invalid UTF-8"),
    ({"question": "Q", "answer": "1", "id": ["x"]}, "id", "wrong type"),
    ({"question": "Q", "answer": "1", "kind": "poem"}, "kind", "no grader for kind 'poem'"),
    ({"question": [], "answer": "1"}, "question", "empty list"),
    ({"question": ["a"], "answer": "1"}, "question", "not of messages"),
]


@pytest.mark.parametrize("value, column, said", BROKEN)
def test_broken_rows_say_column_and_reason(value, column, said):
    columns = Columns({"question": "question", "gold": "answer", "id": "id", "kind": "kind"})
    bad = columns.prompt(Row("x.jsonl", 7, value), spare_id="x-7", source="x.jsonl")
    assert isinstance(bad, BadRow)
    assert (bad.file, bad.line, bad.column) == ("x.jsonl", 7, column)
    assert said in bad.reason


def message(role, content="Q"):
    return {"role": role, "content": content}


def test_messages():
    assert one({"prompt": [message("system", "S"), message("user")], "answer": "1"}).question == "Q"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert one({"prompt": [message("user", parts)], "answer": "1"}).question == "ab"


@pytest.mark.parametrize(
    "messages, said",
    [
        ([message("user"), message("assistant"), message("user")], "several turns"),
        ([message("user"), message("assistant")], "several turns"),
        ([message("system")], "one user message is needed"),
        ([message("user", [{"type": "image"}])], "parts that are not text"),
        ([message("user", None)], "wrong type: null"),
    ],
)
def test_messages_that_are_refused(messages, said):
    bad = one({"prompt": messages, "answer": "1"})
    assert isinstance(bad, BadRow)
    assert said in bad.reason


def test_the_mapping_follows_most_rows():
    rows = [{"question": "Q", "answer": "1"}] * 9 + [{"question": "Q", "gold": "1"}]
    assert choose(rows, {}, where="x")["gold"] == "answer"


def test_no_known_column():
    with pytest.raises(DataError) as error:
        choose([{"question": "Q", "key": "1"}], {}, where="x.jsonl")
    assert "?gold=COLUMN" in str(error.value)
    assert "columns: key, question" in str(error.value)


def test_a_named_column_that_is_not_there():
    with pytest.raises(DataError, match="did you mean 'problem'"):
        choose([{"problem": "Q", "answer": "1"}], {"question": "problm"}, where="x.jsonl")


def test_values_that_json_cannot_hold_become_text():
    import datetime

    value = {"question": "Q", "answer": "1", "day": datetime.date(2025, 1, 20), "raw": b"abc"}
    columns = one(value).columns
    assert columns == {"day": "2025-01-20", "raw": "<3 bytes>"}


@pytest.mark.parametrize(
    "gold, answer",
    [
        ("so 3 + 4 = 7\n#### 7", "7"),
        ("#### -1,000,000", "-1000000"),
        ("#### 1,2", "1,2"),
        ("####", "####"),
        ("\\boxed{a{b}c} and \\boxed{x}", "x"),
        ("\\boxed{unclosed", "\\boxed{unclosed"),
        ("1,234", "1,234"),
    ],
)
def test_final_answer(gold, answer):
    assert final_answer(gold) == answer

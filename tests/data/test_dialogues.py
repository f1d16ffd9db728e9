"""Dialogues from rows as public data sets write them; every row counted."""

import json

import pytest

from aha.config import DataConfig
from aha.data import dialogues
from aha.data.readers import BadRow, Row
from aha.errors import ConfigError, DataError

ASKED = (("user", "What is 1+1?"), ("assistant", "2"))


def made(value, **named):
    return dialogues.of_row(Row("a.jsonl", 7, value), named, stem="a", source="a.jsonl")


@pytest.mark.parametrize(
    "value",
    [
        {"question": "What is 1+1?", "response": "2"},
        {"problem": "What is 1+1?", "solution": "2"},
        {"prompt": " What is 1+1? ", "completion": "2\n"},
        {"instruction": "What is 1+1?", "input": "", "output": "2"},
        {"prompt": [{"role": "user", "content": "What is 1+1?"}], "response": "2"},
        {"messages": [{"role": "user", "content": "What is 1+1?"},
                      {"role": "assistant", "content": "2"}]},
        {"conversations": [{"from": "human", "value": "What is 1+1?"},
                           {"from": "gpt", "value": "2"}]},
    ],
)  # fmt: skip
def test_public_forms_are_known(value):
    dialogue = made(value)
    assert dialogue.messages == ASKED
    assert dialogue.id == "a-7"


def test_instruction_and_input_are_one_question():
    dialogue = made({"instruction": "Add them.", "input": "1, 1", "output": "2"})
    assert dialogue.messages[0] == ("user", "Add them.\n\n1, 1")


def test_system_several_turns_id_and_domain():
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    dialogue = made({"id": 9, "domain": "math", "messages": turns})
    assert [role for role, _ in dialogue.messages] == [turn["role"] for turn in turns]
    assert (dialogue.id, dialogue.domain, dialogue.turns) == ("9", "math", [2, 4])
    assert made({"system": "Be brief.", "question": "a", "response": "b"}).messages[0] == (
        "system",
        "Be brief.",
    )


@pytest.mark.parametrize(
    "value, said",
    [
        ({}, "no question"),
        ({"question": "a"}, "no response"),
        ({"question": "a", "response": " "}, "the response is empty"),
        ({"question": "a", "response": 3}, "the response is int"),
        ({"question": "\ud800", "response": "b"}, "lone surrogate"),
        ({"messages": []}, "not empty"),
        ({"messages": "a"}, "must be a list"),
        ({"messages": [3]}, "message 0 is no object"),
        ({"messages": [{"role": "user", "content": "a"}]}, "end with the assistant's"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "must be user"),
        ({"messages": [{"role": "tool", "content": "a"}, {"role": "assistant", "content": "b"}]},
         "not tool, assistant"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"},
                       {"role": "assistant", "content": "c"}]}, "not user, user, assistant"),
        ({"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "b"}]},
         "message 0 is NoneType"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_a_broken_row(value, said):
    bad = made(value)
    assert isinstance(bad, BadRow)
    assert (bad.file, bad.line) == ("a.jsonl", 7)
    assert said in bad.reason


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_is_read_and_counted(tmp_path):
    rows = [{"question": f"q{i}", "response": "r"} for i in range(5)] + [{"question": "x"}]
    path = write(tmp_path / "d.jsonl", rows)
    loaded = dialogues.load(str(path), split="train", config=DataConfig(max_bad_share=0.5))
    assert len(loaded.dialogues) == 5
    assert len(loaded.bad) == 1
    assert loaded.sentence().endswith("5 dialogues of 6 rows, 1 broken")
    some = dialogues.load(f"{path}?n=2", split="train", config=DataConfig(max_bad_share=0.5))
    assert [d.id for d in some.dialogues] == ["d-1", "d-2"]


def test_columns_may_be_named(tmp_path):
    path = write(tmp_path / "d.jsonl", [{"q": "a", "r": "b", "solution": "no"}])
    source = f"{path}?question=q&response=r"
    [dialogue] = dialogues.load(source, split="train", config=DataConfig()).dialogues
    assert dialogue.messages == (("user", "a"), ("assistant", "b"))


def test_a_source_that_cannot_be_used_says_why(tmp_path):
    path = write(tmp_path / "d.jsonl", [{"question": "x"}, {"question": "y", "response": "z"}])
    with pytest.raises(DataError, match=r"1 of 2 rows are broken(.|\n)*d.jsonl:1: no response"):
        dialogues.load(str(path), split="train", config=DataConfig())
    with pytest.raises(ConfigError, match="did you mean 'response'"):
        dialogues.load(f"{path}?respnse=a", split="train", config=DataConfig())
    with pytest.raises(DataError, match="no data at"):
        dialogues.load(str(tmp_path / "none.jsonl"), split="train", config=DataConfig())


def test_what_is_learned_is_what_the_template_writes():
    """Prompt and answer, put together, are the conversation as the model's own template renders it."""
    from transformers import AutoTokenizer

    from aha.data import templates
    from aha.models.locate import locate

    tokenizer = AutoTokenizer.from_pretrained(locate("aha:base"))
    template = templates.load_template(DataConfig(template="chat"), tokenizer)
    turns = (("system", "Be brief."), ("user", "4 * 3 - 1 ="))
    prompt, answer = templates.example(template, turns, "<think>\n12 - 1\n</think>\n\n11")
    messages = [{"role": role, "content": text} for role, text in turns]
    messages.append({"role": "assistant", "content": "<think>\n12 - 1\n</think>\n\n11"})
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode([*prompt, *answer]) == whole
    assert answer[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    "row, said",
    [
        ({"problem": "2 + 3?", "answer": "5", "solution": "2 and 3 make 5"}, "?response=solution"),
        ({"problem": "2 + 3?", "answer": "5"}, 'kind "sample"'),
        ({"prompt": "Hi", "chosen": "Hello, how are you?", "rejected": "What"}, 'kind "dpo"'),
        ({"problem": "2 + 3?", "answer": "2 and 3 make 5 together"}, ""),
        ({"messages": [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}]}, ""),
    ],
)  # fmt: skip
def test_what_is_probably_not_meant_is_said(tmp_path, row, said):
    write(tmp_path / "rows.jsonl", [row] * 3)
    found = dialogues.load(str(tmp_path / "rows.jsonl"), split="train", config=DataConfig())
    assert len(found.dialogues) == 3
    assert [said in doubt for doubt in found.doubts] == [True] * bool(said)


def test_a_column_that_is_named_is_meant(tmp_path):
    write(tmp_path / "rows.jsonl", [{"problem": "2 + 3?", "answer": "5"}])
    source = f"{tmp_path}/rows.jsonl?response=answer"
    assert dialogues.load(source, split="train", config=DataConfig()).doubts == []

"""Tokens are compared with the tokenizer's own; what is shown, with the text that went in."""

import json

import pytest

from aha.config import DataConfig
from aha.data import inspect
from aha.data.templates import load_template
from aha.report.data_page import page
from aha.report.data_text import bars, print_inspection
from tests.data import small_tokenizers


@pytest.fixture
def look(tmp_path, monkeypatch):
    """look(rows, template=...) -> Inspection, with a small tokenizer instead of a model's."""

    def looked(rows, *, n=3, chat=None, **config):
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")
        tokenizer = small_tokenizers.make(chat)
        monkeypatch.setattr(inspect, "bind", lambda _, made: load_template(made, tokenizer))
        made = inspect.inspect(str(path), DataConfig(train=str(path), **config), n=n)
        return made, tokenizer

    return looked


ROW = {"question": "What is 3 + 4?", "answer": "Three and four.\n#### 7"}


def test_the_prompt_is_what_the_model_gets_and_the_answer_is_trained(look):
    found, tokenizer = look([ROW])
    shown = found.rows[0]
    assert shown.text.endswith("User: What is 3 + 4?. Assistant:")
    assert (shown.gold, shown.worked, shown.rejected) == ("7", "column 'answer'", "")
    prompt = [token.id for token in shown.tokens if not token.trained]
    trained = [token.id for token in shown.tokens if token.trained]
    assert prompt == tokenizer(shown.text).input_ids
    assert trained[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(trained[:-1]) == " Three and four.\n#### 7"
    assert "".join(token.text for token in shown.tokens if not token.trained) == shown.text


def test_without_a_worked_answer_nothing_is_trained_yet(look):
    found, _ = look([{"question": "1 + 1?", "answer": "2"}])
    assert not any(token.trained for token in found.rows[0].tokens)
    assert found.rows[0].worked == ""


def test_a_conversation_is_shown_though_a_run_refuses_it(look):
    turns = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "It is 2."}]
    found, tokenizer = look(
        [{"prompt": turns, "answer": "2"}], chat=small_tokenizers.QWEN, template="chat"
    )
    shown = found.rows[0]
    assert "several turns" in shown.rejected
    trained = [token.id for token in shown.tokens if token.trained]
    assert tokenizer.decode(trained) == "It is 2.<|im_end|>"
    assert shown.text == "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"


def test_parts_of_characters_are_shown_as_bytes(look):
    found, _ = look([{"question": "中?", "answer": "2"}], n=1)
    texts = [token.text for token in found.rows[0].tokens]
    assert "‹e4›" in texts  # 中 is e4 b8 ad, and the small vocabulary has single bytes only


def test_only_n_rows_are_shown_and_all_are_counted(look):
    rows = [{"question": f"What is {n} + 1?", "answer": n + 1} for n in range(10)]
    found, _ = look([*rows, {"question": "", "answer": "1"}], n=2)
    assert [row.place.rsplit(":")[-1] for row in found.rows] == ["1", "2"]
    assert (found.report.read, found.report.kept, found.report.rejected) == (11, 10, 1)
    made = json.loads(json.dumps(found.as_dict()))
    assert made["rows"][0]["tokens"][0].keys() == {"id", "text", "trained"}
    assert made["first_faults"][0]["line"] == 11


HOSTILE = {"question": "<script>alert(1)</script> \x1b[31m\u202eevil & \"x\" 'y'", "answer": "2"}


def test_the_page_escapes_everything_and_needs_nothing(look):
    found, _ = look([HOSTILE, ROW])
    text = page(found)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    for wanted in ("http:", "https:", "src=", "url(", "@import"):
        assert wanted not in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert text.count('class="tokens trained"') == 1


def test_a_pipe_gets_marks_and_no_escapes(look, tmp_path):
    found, _ = look([HOSTILE, ROW])
    with (tmp_path / "out").open("w+", encoding="utf-8") as stream:
        print_inspection(found, stream)
        stream.seek(0)
        text = stream.read()
    assert "\x1b" not in text
    assert "\u202e" not in text
    trained = [line for line in text.splitlines() if line.startswith("  + |")]
    pieces = (
        "".join(line.removeprefix("  + |").removesuffix("|") for line in trained)
        .replace("|", "")
        .replace("␣", " ")
    )
    assert pieces == " Three and four.⏎#### 7<|endoftext|>".replace("|", "")
    ids = [token.id for token in found.rows[1].tokens if token.trained]
    assert " ".join(map(str, ids)) in " ".join(text.split())


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_a_terminal_gets_colours_unless_it_wants_none(look, monkeypatch):
    found, _ = look([ROW])
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Terminal()
    print_inspection(found, coloured)
    assert "\x1b[" in coloured.text
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    print_inspection(found, plain)
    assert "  + |" in plain.text


def test_bars():
    assert bars([0, 1, 100, 50]) == " ▁█▄"
    assert bars([]) == ""


def test_of_a_program_the_solution_is_shown_and_not_the_tests(look):
    stub = "def add(a, b):\n    ''' Add. '''\n"
    check = "def check(candidate):\n    assert candidate(1, 2) == 3"
    row = {"prompt": stub, "entry_point": "add", "test": check, "solution": "    return a + b\n"}
    found, tokenizer = look([row], n=1)
    shown = found.rows[0]
    assert (shown.kind, shown.worked) == ("code", "the row's own program")
    trained = tokenizer.decode([token.id for token in shown.tokens if token.trained][:-1])
    assert trained.strip() == f"```python\n{stub}    return a + b\n```"
    assert "assert" not in shown.text + trained


def test_of_a_choice_the_letter_is_no_worked_answer(look):
    found, _ = look([{"question": "Red?", "choices": ["x", "y"], "answer": "B"}], n=1)
    assert (found.rows[0].kind, found.rows[0].worked) == ("choice", "")
    assert "A. x\nB. y" in found.rows[0].text

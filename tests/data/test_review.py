"""People's decisions about dialogues: what is shown, what is written, going on, what comes out."""

import json
from datetime import UTC, datetime

import pytest

from aha.data.review import edit_in_editor, export, read, read_records, review
from aha.errors import DataError, RunError
from aha.report.lines import clean

ANSWER = "<think>\n1 + {0} is asked.\n</think>\n\nThe answer is \\boxed{{{0}}}."
NEW = "<think>\nWe add.\n</think>\n\nIt is \\boxed{9}."


def rows(count=4):
    return [
        {
            "id": f"d{i}",
            "question": f"1 + {i}?",
            "response": ANSWER.format(i),
            "from": {"sample": i},
        }
        for i in range(count)
    ]


def write(path, values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


class Person:
    """Says the next of its lines; at the end it leaves."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.heard: list[str] = []

    def ask(self, question):
        self.heard.append(question)
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)

    def say(self, text):
        self.heard.append(text)

    def sit(self, path, out, *, edit=lambda text: NEW, reviewer="ann", **options):
        return review(path, out, reviewer, self.ask, self.say, clean=clean, edit=edit,
                      now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), **options)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "d.jsonl", rows())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "review" / "decisions.jsonl"


def test_each_decision_is_a_line_and_comes_out(path, out):
    person = Person("a", "e", "y", "r", "too short", "s")
    assert person.sit(path, out) == {"accept": 1, "edit": 1, "reject": 1, "skip": 1}
    first, second, third = read_records(out)
    assert first == {
        "id": "d0",
        "decision": "accept",
        "text": "",
        "note": "",
        "reviewer": "ann",
        "time": "2026-01-02T03:04:05+00:00",
        "before_sha": read(path)[0].sha,
    }
    assert (second["decision"], second["text"]) == ("edit", NEW)
    assert (third["decision"], third["note"]) == ("reject", "too short")
    found = export(path, out)
    assert found.sentence() == "1 accepted, 1 edited, 1 rejected, 1 without a decision"
    assert found.rows == [
        {**rows()[0], "review": {"decision": "accept", "reviewer": "ann"}},
        {**rows()[1], "response": NEW, "review": {"decision": "edit", "reviewer": "ann"}},
    ]


def test_it_goes_on_where_it_was_left(path, out):
    Person("a", "s", "q").sit(path, out)
    person = Person("r", "no", "a")
    person.sit(path, out)
    assert "4 dialogues, 1 decided, 3 to look at" in person.heard
    assert [one["id"] for one in read_records(out)] == ["d0", "d1", "d2"]
    last = Person("a")
    assert last.sit(path, out) == {"accept": 1}
    assert Person().sit(path, out) == {}


def test_a_torn_line_is_asked_again(path, out):
    Person("a", "a").sit(path, out)
    data = out.read_bytes()
    out.write_bytes(data[:-20])
    person = Person("r", "")
    person.sit(path, out)
    assert [(one["id"], one["decision"]) for one in read_records(out)] == [
        ("d0", "accept"),
        ("d1", "reject"),
    ]
    out.write_bytes(out.read_bytes().removesuffix(b"\n"))  # whole, but for its end
    Person("a").sit(path, out)
    assert [one["id"] for one in read_records(out)] == ["d0", "d1", "d2"]


def test_a_dialogue_that_changed_is_asked_again(path, out):
    Person("a", "a", "a", "a").sit(path, out)
    changed = rows()
    changed[2]["response"] = ANSWER.format(7)
    write(path, changed)
    found = export(path, out)
    assert (found.accepted, found.undecided) == (3, 1)
    Person("r", "").sit(path, out)
    assert export(path, out).rejected == 1


def test_the_last_decision_counts(path, out):
    Person("a").sit(path, out)
    [line] = read_records(out)
    with out.open("a") as file:
        file.write(json.dumps(line | {"decision": "reject", "reviewer": "bob"}) + "\n")
    assert export(path, out).rows == []


@pytest.mark.parametrize(
    "edited, said",
    [
        ("  \n", "the answer is empty"),
        ("The answer is 9.", "must stay"),
        ("<think>a</think> \n", "must stay"),
        ("<think>a</think> b <think>", "must stay"),
        (NEW + "\ud83d", "half a character"),
    ],
)
def test_an_edit_that_cannot_be_learned_is_not_taken(path, out, edited, said):
    person = Person("e", "q")
    person.sit(path, out, edit=lambda text: edited)
    assert any(said in line for line in person.heard)
    assert not out.exists()


def test_an_edit_may_be_thought_over(path, out):
    person = Person("e", "n", "e", "y", "q")
    person.sit(path, out)
    assert [one["decision"] for one in read_records(out)] == ["edit"]
    unchanged = Person("e", "a", "q")
    unchanged.sit(path, out, edit=lambda text: text + "\n")
    assert "nothing was changed" in unchanged.heard
    assert [one["decision"] for one in read_records(out)] == ["edit", "accept"]


def test_an_unknown_key_and_the_end_of_input(path, out):
    person = Person("x", "", "A ")
    assert person.sit(path, out) == {"accept": 1}
    assert Person().sit(path, out) == {}


def test_what_a_model_wrote_does_nothing_to_the_terminal(tmp_path, out):
    evil = "\x1b[2J\x1b]0;title\x07\u202egood\x00"
    path = write(tmp_path / "e.jsonl", [{"id": evil, "question": evil, "response": evil}])
    person = Person("e", "n", "a")
    person.sit(path, out, edit=lambda text: text + "more\x1b[31m")
    shown = "".join(person.heard)
    assert "good" in shown
    assert not any(sign in shown for sign in "\x1b\x07\x00\u202e")


@pytest.mark.parametrize(
    "row, place",
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "content"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "value"),
    ],
)  # fmt: skip
def test_other_forms_of_dialogues(tmp_path, out, row, place):
    path = write(tmp_path / "m.jsonl", [row])
    Person("e", "y").sit(path, out, edit=lambda text: "better")
    [made] = export(path, out).rows
    turns = made[next(iter(row))]
    assert [turn[place] for turn in turns] == ["a", "better"]
    assert made["id"] == "m-1"
    assert row[next(iter(row))][1][place] == "b"


def test_instructions_keep_their_columns(tmp_path, out):
    row = {"id": 5, "instruction": "Add.", "input": "1, 1", "output": "2"}
    path = write(tmp_path / "i.jsonl", [row])
    Person("e", "y").sit(path, out, edit=lambda text: "3")
    [made] = export(path, out).rows
    assert made == {
        **row,
        "id": "5",
        "output": "3",
        "review": {"decision": "edit", "reviewer": "ann"},
    }


def test_files_that_cannot_be_reviewed(tmp_path, out):
    with pytest.raises(DataError, match="no file at"):
        Person().sit(tmp_path / "none.jsonl", out)
    with pytest.raises(DataError, match=r"b.jsonl:1: no question"):
        Person().sit(write(tmp_path / "b.jsonl", [{}]), out)
    with pytest.raises(DataError, match="2 dialogues have the id 'd0'"):
        Person().sit(write(tmp_path / "t.jsonl", [*rows(1), *rows(1)]), out)
    with pytest.raises(DataError, match="holds no dialogue"):
        Person().sit(write(tmp_path / "z.jsonl", []), out)


@pytest.mark.parametrize(
    "text", ['{"a": 1}\n', "no json\n{}\n", '{"id": 1, "decision": "accept"}\n']
)
def test_a_file_of_something_else_is_not_written_to(path, tmp_path, text):
    other = tmp_path / "other.jsonl"
    other.write_text(text)
    with pytest.raises(RunError, match="not a file of decisions"):
        Person("a").sit(path, other)
    assert other.read_text() == text


def test_the_editor(monkeypatch, tmp_path):
    script = tmp_path / "my editor.sh"
    script.write_text('#!/bin/sh\nsed -i s/old/new/ "$1"\n')
    script.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"'{script}'")
    assert edit_in_editor("the old text 对") == "the new text 对"
    monkeypatch.setenv("VISUAL", "false")
    with pytest.raises(RunError, match="ended with 1; nothing was changed"):
        edit_in_editor("a")
    monkeypatch.setenv("VISUAL", str(tmp_path / "no-such-editor"))
    with pytest.raises(RunError, match="cannot be started"):
        edit_in_editor("a")
    script.write_text("#!/bin/sh\nprintf '\\377' > \"$1\"\n")
    monkeypatch.delenv("VISUAL")
    with pytest.raises(RunError, match="cannot be read"):
        edit_in_editor("a")
    monkeypatch.delenv("EDITOR")
    with pytest.raises(RunError, match="set EDITOR"):
        edit_in_editor("a")


def test_an_editor_that_fails_is_said_and_asked_again(path, out):
    def broken(text):
        raise RunError("no editor: set EDITOR")

    person = Person("e", "a", "q")
    assert person.sit(path, out, edit=broken) == {"accept": 1}
    assert "no editor: set EDITOR" in person.heard


def test_a_missing_file_is_told_what_to_give_instead(tmp_path):
    run = tmp_path / "runs" / "mine"
    for stage in ("cold_start", "rejection"):
        (run / stage).mkdir(parents=True)
        write(run / stage / "dialogues.jsonl", rows(1))
    cases = [
        (run / "rejection" / "dialoges.jsonl", f"did you mean {run}/rejection/dialogues.jsonl"),
        (run / "rejction", f"did you mean {run}/rejection/dialogues.jsonl"),
        (run / "other.jsonl", f"did you mean {run}/cold_start/dialogues.jsonl"),
        (run, f"folder; give a file of it: {run}/cold_start/dialogues.jsonl, {run}/rejection"),
        (run / "rejection", f"is a folder; give a file of it: {run}/rejection/dialogues.jsonl"),
        (tmp_path / "none" / "d.jsonl", f"and no folder {tmp_path}/none"),
    ]
    for path, said in cases:
        with pytest.raises(DataError) as error:
            read(path)
        assert said in str(error.value)
    with pytest.raises(DataError, match=r"a folder without dialogues\.jsonl"):
        read(tmp_path)

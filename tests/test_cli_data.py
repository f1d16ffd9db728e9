"""`aha data check` and `aha data inspect` as typed: exit codes, what is printed, what is written."""

import json

import pytest

from aha.__main__ import main


def row(number):
    return json.dumps({"question": f"What is {number} + {number}?", "answer": str(2 * number)})


@pytest.fixture
def aha(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return ended.value.code, said.out, said.err

    return run


def test_a_clean_source_ends_with_0(tmp_path, aha):
    path = tmp_path / "x.jsonl"
    path.write_text(f"{row(1)}\n{row(2)}\n")
    code, out, _ = aha("data", "check", path)
    assert code == 0
    assert "read 2 = kept 2 + rejected 0" in out
    assert "clean: 0 files" in out


def test_faults_end_with_1_and_their_place(tmp_path, aha):
    path, bad = tmp_path / "x.jsonl", tmp_path / "bad.jsonl"
    path.write_bytes(row(1).encode() + b'\n{"question": "1?"}\n\xff\n' + row(1).encode())
    code, out, _ = aha("data", "check", path, "--bad", bad)
    assert code == 1
    plain = " ".join(out.split())
    assert f"{path}:2: column 'answer': missing key" in plain
    assert f"{path}:3: invalid UTF-8" in plain
    assert f"{path}:4: the same question as {path}:1" in plain
    assert "read 4 = kept 2 + rejected 2" in plain
    rows = [json.loads(line) for line in bad.read_text("utf-8").splitlines()]
    assert [(each["line"], each["kind"]) for each in rows] == [(2, "missing key"), (3, "encoding")]


def test_json_has_every_fault(tmp_path, aha):
    path = tmp_path / "x.jsonl"
    path.write_text("{oops\n" * 20 + row(1) + "\n")
    code, out, _ = aha("data", "check", path, "--json")
    made = json.loads(out)
    assert code == 1
    assert (made["read"], made["kept"], made["rejected"]) == (21, 1, 20)
    assert [fault["line"] for fault in made["faults"]] == list(range(1, 21))
    assert made["clean"] is False
    path.write_text(row(1))
    code, out, _ = aha("data", "check", path, "--json")
    assert (code, json.loads(out)["faults"]) == (0, [])


def test_a_file_that_cannot_be_read_ends_with_1(tmp_path, aha):
    code, out, _ = aha("data", "check", tmp_path / "none.jsonl")
    assert code == 1
    assert "no data at" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (["data", "check"], "Missing argument"),
        (["data", "check", "{x}?gould=answer"], "has no key 'gould'"),
        (["data", "check", "{x}", "--max-prompt-tokens", "0"], "--max-prompt-tokens"),
        (["data", "check", "{x}", "--template", "chat"], "add --model"),
        (["data", "check", "{x}", "--bad", "{tmp}/no/bad.jsonl"], "cannot write"),
        (["data", "look", "{x}"], "No such command"),
    ],
)
def test_misuse_ends_with_2(tmp_path, aha, words, said):
    path = tmp_path / "x.jsonl"
    path.write_text(row(1))
    code, _, err = aha(*[word.format(x=path, tmp=tmp_path) for word in words])
    assert code == 2
    assert said in err


def test_lone_surrogates_and_escapes_can_be_printed(tmp_path, aha):
    path = tmp_path / "x.csv"
    path.write_bytes(b"que\xffstion,an\x1b[31mswer\n1,2\n")
    code, out, _ = aha("data", "check", path)
    assert code == 1
    assert "\x1b" not in out
    out.encode("utf-8")
    assert aha("data", "check", path, "--json")[0] == 1


def test_inspect_with_the_packaged_model(tmp_path, aha):
    path, html = tmp_path / "x.jsonl", tmp_path / "x.html"
    path.write_text(f"{row(1)}\n{row(2)}\n{{oops\n")
    code, out, _ = aha("data", "inspect", path, "--n", "1", "--html", html)
    assert code == 0
    assert "rows         3 read = 2 kept + 1 rejected" in out
    assert "prompt, not trained" in out
    assert f"{path}:3" in " ".join(out.split())
    assert html.read_text("utf-8").startswith("<!doctype html>")
    code, out, _ = aha("data", "inspect", path, "--json")
    assert code == 0
    assert len(json.loads(out)["rows"]) == 2


def test_inspect_of_nothing_ends_with_1(tmp_path, aha):
    code, out, err = aha("data", "inspect", tmp_path / "none.jsonl")
    assert code == 1
    assert "no data at" in out + err

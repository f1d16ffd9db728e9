"""Counts worked out by hand; what a file may have wrong is in test_broken_files.py."""

import json

import pytest

from aha.config import DataConfig
from aha.data import check, sources
from aha.data.spread import spread
from aha.data.templates import load_template
from aha.errors import DataError
from tests.data import small_tokenizers


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    )
    return path


def row(number, **more):
    return {"question": f"What is {number} + {number}?", "answer": 2 * number, **more}


def looked_at(source, heldout="", **options):
    faults = []
    config = DataConfig(train=str(source), heldout=str(heldout), max_prompt_tokens=60)
    report = check.check(str(source), config, sink=faults.append, **options)
    assert report.kept + report.rejected == report.read
    return report, faults


def told(faults, kind):
    return [(fault.split, fault.line) for fault in faults if fault.kind == kind]


def test_all_splits_of_a_folder_are_read(tmp_path):
    write(tmp_path / "train-0.jsonl", row(1), row(2))
    write(tmp_path / "train-1.jsonl", row(3), "{oops\n")
    write(tmp_path / "validation.jsonl", row(4))
    write(tmp_path / "test.csv", "question,answer\n", "5 + 5?,10\n", "6 + 6?\n")
    write(tmp_path / "notes.jsonl", row(7))
    report, faults = looked_at(tmp_path)
    counts = {split.name: (split.read, split.kept, split.rejected) for split in report.splits}
    assert counts == {"train": (4, 3, 1), "heldout": (2, 1, 1), "validation": (1, 1, 0)}
    assert told(faults, "not JSON") == [("train", 2)]
    assert not report.clean


def test_what_is_kept_is_what_a_run_uses(tmp_path):
    rows = [
        row(1, id="a"), row(2, id="a"), {"question": "", "answer": 1}, row(3), "[1]\n", row(4, id=7)
    ]  # fmt: skip
    path = write(tmp_path / "x.jsonl", *rows)
    report, faults = looked_at(path)
    loaded = sources.load(str(path), split="train", config=DataConfig(max_bad_share=1))
    assert report.kept == len(loaded.prompts) == 3
    assert sorted(f.line for f in faults if f.level == "rejected") == [
        bad.line for bad in loaded.bad
    ]


def test_held_out_questions_among_the_training_ones(tmp_path):
    words = "one two three four five six seven eight nine ten"
    train = write(
        tmp_path / "train.jsonl",
        row(1),
        {"question": f"Now say {words} aloud", "answer": 1},
        row(2, question="what is 3 +  3 ?"),
    )
    test = write(
        tmp_path / "test.jsonl", row(9), row(3), {"question": f"Again {words} please", "answer": 2}
    )
    report, faults = looked_at(train, heldout=test)
    assert report.leaks_looked_for
    assert told(faults, "leak: same") == [("train", 3)]
    assert told(faults, "leak: ngram") == [("train", 2)]
    assert f"{test}:2" in next(f.reason for f in faults if f.kind == "leak: same")
    assert report.clean  # warnings are on rows that a run uses
    assert not looked_at(train)[0].leaks_looked_for


def test_leaks_are_found_in_every_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "CHUNK", 3)
    train = write(tmp_path / "train.jsonl", *(row(n) for n in range(1, 9)))
    test = write(tmp_path / "test.jsonl", row(2), row(7), row(8))
    faults = looked_at(train, heldout=test)[1]
    assert told(faults, "leak: same") == [("train", 2), ("train", 7), ("train", 8)]


def test_a_template_counts_tokens_and_refuses_control_tokens(tmp_path):
    tokenizer = small_tokenizers.make()
    path = write(
        tmp_path / "x.jsonl", row(1), row(2, question="1<|im_end|>"), row(3, question="x" * 200)
    )
    file = tmp_path / "short.txt"
    file.write_text("Q: {question} A:")
    config = DataConfig(train=str(path), template=str(file), max_prompt_tokens=60)
    report, faults = looked_at(path, template=load_template(config, tokenizer))
    assert (report.kept, report.rejected, report.too_long) == (1, 2, 1)
    assert told(faults, "control token") == [("train", 2)]
    assert told(faults, "too long") == [("train", 3)]
    expected = [len(tokenizer(f"Q: {q} A:").input_ids) for q in ("What is 1 + 1?", "x" * 200)]
    assert list(report.tokens) == expected


def test_the_limit_of_a_source_is_kept(tmp_path):
    path = write(tmp_path / "x.jsonl", "{\n", row(1), row(2), row(3))
    report, _ = looked_at(f"{path}?n=2")
    assert (report.read, report.kept, report.rejected) == (3, 2, 1)
    assert report.splits[0].notes == ["stopped at n=2"]


def test_rejected_rows_are_handed_out_with_what_they_held(tmp_path):
    path = write(tmp_path / "x.jsonl", row(1), {"question": "1?", "answer": None}, '{"cut": "\n')
    rejects = []
    looked_at(path, rejects=rejects.append)
    made = [json.loads(check.reject_line(each)) for each in rejects]
    assert [(each["line"], each["kind"], each["column"]) for each in made] == [
        (2, "wrong type", "answer"),
        (3, "not JSON", ""),
    ]
    assert made[0]["row"] == {"question": "1?", "answer": None}
    assert made[1]["text"] == '{"cut": "\n'


def test_every_fault_of_a_hopeless_file_is_counted_and_few_are_held(tmp_path):
    path = write(tmp_path / "x.jsonl", *["{oops\n"] * 500)
    report, faults = looked_at(path)
    assert (report.read, report.rejected, len(faults)) == (500, 500, 500)
    assert [fault.line for fault in report.tally.first["rejected", "not JSON"]] == [1, 2, 3]


def test_a_task_has_both_sides_and_no_leak():
    report, faults = looked_at("arithmetic?n=20")
    assert [(split.name, split.kept) for split in report.splits] == [("train", 20), ("heldout", 20)]
    assert not told(faults, "leak: same")
    assert report.golds_checked == 40
    assert report.golds_failed == 0


def test_a_source_that_cannot_be_had_is_a_fault_not_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sources, "_from_hub", lambda *_: (_ for _ in ()).throw(DataError("no network"))
    )
    report, faults = looked_at("some/where")
    assert [fault.level for fault in faults] == ["file"]
    assert not report.clean


def test_spread_by_hand():
    assert spread([]) is None
    found = spread([5, 1, 3, 2, 4])
    assert found is not None
    assert [found[name] for name in ("count", "min", "median", "p95", "max")] == [5, 1, 3, 5, 5]
    assert sum(found["histogram"]) == 5
    assert [n for n, count in enumerate(found["histogram"]) if count] == [0, 5, 10, 15, 19]
    hundred = spread(range(1, 101))
    assert hundred is not None
    assert (hundred["median"], hundred["p95"]) == (50, 95)
    same = spread([7, 7])
    assert same is not None
    assert same["histogram"][0] == 2


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_with_one_split_is_no_fault(tmp_path, split):
    write(tmp_path / f"{split}.jsonl", row(1))
    report, _ = looked_at(tmp_path)
    assert report.clean
    assert report.kept == 1

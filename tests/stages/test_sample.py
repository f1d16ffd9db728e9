"""The sampling stage: answers of the shipped base become dialogues, the same ones after a kill."""

import json
from pathlib import Path

import pytest

from aha import config
from aha.config import DataConfig
from aha.data import dialogues
from aha.errors import DataError
from aha.evals import run as evals
from aha.stages import launch


def recipe(folder, **keys):
    raw = {
        "name": "run",
        "run_dir": str(folder / "runs"),
        "threads": 2,
        "memory_gb": 4,
        "model": {"path": "aha:base"},
        "data": {"train": "arithmetic?digits=1&n=200"},
        "stage": {
            "kept": {
                "kind": "sample",
                "problems": 40,
                "samples": 8,
                "max_answer_tokens": 120,
                **keys,
            }
        },
    }
    return config.resolve(raw)


def run(made):
    root = Path(made.run_dir) / made.name
    launch.run(made, root, stage=None)
    return root / "kept"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(recipe(tmp_path_factory.mktemp("sample"), refine=True))


def test_what_is_kept_can_be_learned(whole):
    rows = [json.loads(line) for line in (whole / "dialogues.jsonl").read_text().splitlines()]
    loaded = dialogues.load(str(whole / "dialogues.jsonl"), split="train", config=DataConfig())
    assert len(loaded.dialogues) == len(rows) > 0
    for row in rows:
        assert row["response"].startswith("<think>\n")
        assert "\\boxed{" in row["response"].split("</think>")[1]


def test_every_answer_has_its_reason(whole):
    facts = json.loads((whole / "data.json").read_text())
    kept = len((whole / "dialogues.jsonl").read_text().splitlines())
    assert (facts["problems"], facts["samples"]) == (40, 320)
    assert facts["refined"]["samples"] == 320
    assert facts["refined"]["refined"] + sum(facts["refined"]["unfit"].values()) == 320
    done = json.loads((whole / "DONE").read_text())
    assert (done["dialogues"], done["samples"]) == (kept, 320)


def test_a_killed_stage_writes_the_same_file(whole, tmp_path, monkeypatch):
    append = evals._append
    blocks = []

    def stops(*arguments):
        append(*arguments)
        blocks.append(1)
        if len(blocks) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(evals, "_append", stops)
    made = recipe(tmp_path, refine=True)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    monkeypatch.setattr(evals, "_append", append)
    again = run(made)
    for name in ("dialogues.jsonl", "data.json"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()


def test_nothing_kept_says_why(tmp_path):
    with pytest.raises(
        DataError, match=r"none of 4 answers was kept \(0 kept of 4 samples; dropped"
    ):
        run(recipe(tmp_path, problems=2, samples=2, max_answer_tokens=3))


@pytest.mark.parametrize("prompting", ["few_shot", "detailed"])
def test_the_other_routes_ask_and_count(tmp_path, prompting):
    try:
        folder = run(recipe(tmp_path, prompting=prompting, refine=True, problems=8, samples=4))
    except DataError:  # the base rarely answers these in a form that can be refined
        folder = Path(tmp_path) / "runs" / "run" / "kept"
    facts = json.loads((folder / "data.json").read_text())
    assert (facts["problems"], facts["samples"]) == (8, 32)

"""`python -m tests.chaos.resume` in two sizes: a few kills always, a proof on request."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aha import files
from tests.chaos import resume, same

ROOT = Path(__file__).parents[2]


def run(*words: str) -> dict[str, Any]:
    """The summary of a whole run of the command; it is a process of its own, since it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.resume", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_one_kill() -> None:
    summary = run("--kills", "1", "--every", "0", "--graders", "0", "--seed", "11")
    assert summary["by_kind"] == {"forked": [1, 1], "instant": [1, 1]}


@pytest.mark.slow
def test_every_write_of_a_checkpoint_and_ten_instants() -> None:
    summary = run("--kills", "10", "--elsewhere", "20", "--graders", "2", "--seed", "12")
    assert summary["lost"] == 0
    equal, tried = summary["by_kind"]["write"]
    assert equal == tried
    assert tried >= 50  # some 45 writes in a checkpoint, and those elsewhere
    assert summary["by_kind"]["instant"] == [10, 10]


def whole(folder: Path) -> Path:
    """A run folder with one stage, by hand."""
    stage = folder / "zero"
    stage.mkdir(parents=True)
    files.write_json(stage / "fingerprint.json", {"fingerprint": "x"})
    files.write_bytes(stage / "rollouts" / "step_000001.parquet", b"abc")
    row = {"step": 1, "attempt": 1, "time": 5.0, "reward/mean": 0.5, "time/step_s": 1.0}
    files.write_jsonl(stage / "metrics.jsonl", [row])
    return folder


def test_the_comparison_sees_what_it_should(tmp_path: Path) -> None:
    a, b = whole(tmp_path / "a"), whole(tmp_path / "b")
    assert same.difference(a, b) is None
    row = {"step": 1, "attempt": 3, "time": 9.0, "reward/mean": 0.5, "time/step_s": 2.0}
    files.write_jsonl(b / "zero" / "metrics.jsonl", [row])
    assert same.difference(a, b) is None
    files.write_jsonl(b / "zero" / "metrics.jsonl", [row | {"reward/mean": 0.5000001}])
    assert same.difference(a, b) == "zero/metrics.jsonl: step 1: reward/mean"
    files.write_jsonl(b / "zero" / "metrics.jsonl", [row, row])
    assert "steps [1] and [1, 1]" in (same.difference(a, b) or "")
    files.write_jsonl(b / "zero" / "metrics.jsonl", [row])
    files.write_bytes(b / "zero" / "rollouts" / "step_000001.parquet", b"abd")
    assert "other bytes" in (same.difference(a, b) or "")
    (b / "zero" / "rollouts" / "step_000001.parquet").unlink()
    assert "only in one of them" in (same.difference(a, b) or "")
    (b / "zero" / f"x{files.TMP}12").touch()
    assert "left over" in (same.difference(a, b) or "")


def test_one_checkpoint_is_found_among_the_writes() -> None:
    """From its first write to the last removal of an older one."""
    paths = [
        "zero/rollouts/step_000003.jsonl.tmp-7",
        "zero/checkpoints/step_000002.tmp-7/hf/config.json",
        "events.jsonl",
        "zero/checkpoints/step_000004.tmp-7",
        "zero/checkpoints/step_000004.tmp-7/manifest.json",
        "zero/checkpoints",
        "zero/checkpoints/step_000000/manifest.json",
        "zero/checkpoints/step_000000",
        "events.jsonl",
        "zero/grades.jsonl",
        "zero/DONE.tmp-7",
    ]
    events = [(number, "open", path, False) for number, path in enumerate(paths, 1)]
    assert resume.one_checkpoint(events) == (4, 8)

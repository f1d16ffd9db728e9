"""`python -m tests.chaos.graph`: a graph with every kind of stage, killed all over and resumed."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from aha import config
from aha.stages import dag
from tests.chaos.graph import Mark, Trials, fixed, timeline
from tests.chaos.small_graph import write_recipe

ROOT = Path(__file__).parents[2]


def run(*words):
    """The summary of a whole run of the command; it is a process of its own, since it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.graph", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_ten_kills_and_every_mark_of_every_stage():
    summary = run("--kills", "10", "--seed", "0")
    assert summary["lost"] == summary["missed"] == []
    assert summary["runs"] == 3  # forked, at instants, at marks
    assert summary["kills"] >= 30


def test_the_recipe_has_every_kind_of_stage(tmp_path):
    made = config.load(write_recipe(tmp_path, tmp_path / "model"))
    kinds = {node.kind for node in dag.graph(made)}
    # a judge must be able to judge, which no model of this size can: tests/stages/test_judged.py cuts it
    assert kinds == set(dag.VERSIONS) - {"pretrain", "judge"}
    assert made.measures is not None


def test_threads_and_memory_are_fixed_where_the_recipe_leaves_them_open(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("[zero]\n")
    assert fixed(path, ["zero.steps=1"]) == ["zero.steps=1", "threads=1", "memory_gb=4"]
    path.write_text("threads = 2\nmemory_gb = 3\n[zero]\n")
    assert fixed(path, []) == []


def test_every_stage_has_its_marks_in_the_order_of_the_graph(tmp_path):
    trials = Trials(tmp_path, tmp_path / "x", [], random.Random(0), 1.0)
    root = tmp_path / "reference" / "run"
    root.mkdir(parents=True)
    (root / "recipe.toml").write_text('[sft]\ntrain = "x"\n[zero]\nstart = "stage:sft"\n')
    for name in ("sft", "zero"):
        (root / name / "checkpoints" / "step_000004").mkdir(parents=True)
        (root / name / "DONE").write_text('{"checkpoint": "step_000004"}')
    assert trials.marks() == [
        Mark(f"{stage}/{path}", after)
        for stage in ("sft", "zero")
        for path in ("checkpoints/step_000004", "DONE")
        for after in (False, True)
    ]


def test_the_timeline_is_that_of_files_that_are_written_once(tmp_path):
    times = {"zero/fingerprint.json": 3.0, "zero/rollouts/step_1.parquet": 5.5, "zero/DONE": 9.0}
    for name, at in {**times, "zero/metrics.jsonl": 9.5, "zero/cost.json": 9.6}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1000.0 + at, 1000.0 + at))
    assert timeline(tmp_path, 1000.0) == [(at, name) for name, at in times.items()]


MARKED = """
import os, sys
from pathlib import Path
from tests.chaos.graph import Mark, install
os.setpgid(0, 0)
root = Path(sys.argv[1])
(root / "a.tmp").touch()
install(root, Mark("a", sys.argv[2] == "after"))
os.replace(root / "a.tmp", root / "a")
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_mark_kills_on_the_right_side_of_the_rename(tmp_path, when):
    words = [sys.executable, "-c", MARKED, str(tmp_path), when]
    assert subprocess.run(words, cwd=ROOT).returncode == -9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a" if when == "after" else "a.tmp"]

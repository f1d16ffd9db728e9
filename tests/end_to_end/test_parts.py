"""Parts of a recipe: some stages, one stage again with all that was made from it, and two runs at once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aha import files
from aha.stages import launch, run_folder
from tests.end_to_end.conftest import Said, events, plain, short

Aha = Callable[..., Said]

STAGES = """
[stage.next]
kind = "rl"
start = "stage:zero"
{keys}
[stage.alone]
kind = "rl"
{keys}
"""
KEYS = """steps = 1
prompts_per_step = 2
group_size = 4
max_answer_tokens = 8
preflight = 0
grader_workers = 1
grader_seconds = 20.0
eval = { problems = 1, samples = 1 }
"""
LAST = Path("checkpoints") / "step_000001" / "hf" / "model.safetensors"


@pytest.fixture
def parts(recipe: Path) -> Path:
    """zero, what is made from it, and a stage beside them."""
    with recipe.open("a") as file:
        file.write(STAGES.format(keys=KEYS))
    return recipe


def names(run: Path) -> list[str]:
    """Stages that a run began, in order, all attempts together."""
    return [event["stage"] for event in events(run, "start")]


def test_some_stages_then_one_again_with_what_was_made_from_it(
    aha: Aha, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, settings = tmp_path / "runs" / "run", short("zero.steps=1")
    plain(aha("run", parts, "next", "alone", *settings), 0)
    assert names(run) == ["zero", "next", "alone"]
    before = {name: files.sha256(run / name / LAST) for name in ("zero", "next", "alone")}
    beside = (run / "alone" / "DONE").stat().st_mtime_ns

    plain(aha("run", parts, "zero", "--from", "next", *settings), 2, "only zero would run")
    plain(aha("run", parts, "--from", "nexst", *settings), 2, "did you mean next?")
    assert not list(run.glob("*-*"))  # nothing was set aside

    start = launch._start

    def dies(recipe, node, *rest):  # type: ignore[no-untyped-def]
        if node.name == "next":
            raise KeyboardInterrupt
        return start(recipe, node, *rest)

    monkeypatch.setattr(launch, "_start", dies)
    assert aha("run", parts, "--from", "zero", *settings).code == 130
    assert sorted(path.name.rpartition("-")[0] for path in run.glob("*-*")) == ["next", "zero"]
    monkeypatch.setattr(launch, "_start", start)
    plain(aha("resume", run), 0, "zero: done before", "alone: done before")  # not again, from anew
    assert len(list(run.glob("*-*"))) == 2
    assert {name: files.sha256(run / name / LAST) for name in before} == before
    assert (run / "alone" / "DONE").stat().st_mtime_ns == beside
    for aside in run.glob("*-*"):  # nothing is lost
        assert files.sha256(aside / LAST) == before[aside.name.rpartition("-")[0]]
        assert json.loads((aside / "DONE").read_text())["step"] == 1


def test_two_processes_never_write_one_run(
    aha: Aha, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real command twice: the second says who holds the folder, and leaves it as it was."""
    monkeypatch.setattr(run_folder, "LOCK_SECONDS", 0.1)
    run = tmp_path / "runs" / "run"
    command = [sys.executable, "-m", "aha", "run", str(recipe), "--set", "zero.steps=100000"]
    first = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not (run / "zero" / "metrics.jsonl").exists():  # it writes
            assert first.poll() is None
            time.sleep(0.1)
        os.killpg(first.pid, signal.SIGSTOP)  # so that what lies there can be compared
        before = {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))}
        said = aha("run", recipe, "--set", "zero.steps=100000")
        plain(said, 1, f"in use by another aha (process {first.pid})", "name=NAME")
        plain(aha("resume", run), 1, "in use by another aha")
        plain(aha("run", recipe, "--from", "zero"), 1, "in use by another aha")
        assert {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))} == before
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()

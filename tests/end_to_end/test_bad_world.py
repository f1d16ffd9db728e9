"""A bad world: full disks, numbers that are not finite, killed graders, signals. Nothing is lost."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from aha.evals import run as evals
from aha.rewards import workers
from aha.train import checkpoint, step
from aha.train.run import Run
from tests.chaos import same
from tests.end_to_end.conftest import Said, events, exact_task, metrics, plain, short, signalled

Aha = Callable[..., Said]


# -- disks ----------------------------------------------------------------------------------------


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler


@pytest.mark.parametrize("moment", ["checkpoint", "tensors", "tokenizer", "rollouts", "events"])
def test_a_full_disk(
    aha: Aha,
    recipe: Path,
    unbroken: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """Fails with a sentence, keeps what is there, goes on when there is space again."""
    fillers: list[Path] = []

    def filling(function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if not fillers and when(*arguments, **named):
                fillers.append(fill(small_disk))
            return function(*arguments, **named)

        return wrapped

    if moment == "checkpoint":
        monkeypatch.setattr(
            checkpoint, "save", filling(checkpoint.save, lambda *a, **n: n["state"].step == 4)
        )
    elif moment == "tensors":

        def late(path: Path, tensors: object) -> bool:
            return path.name == "reference.safetensors" and "step_000004" in str(path)

        monkeypatch.setattr(checkpoint, "save_tensors", filling(checkpoint.save_tensors, late))
    elif moment == "tokenizer":
        save = PreTrainedTokenizerFast.save_pretrained
        monkeypatch.setattr(
            PreTrainedTokenizerFast,
            "save_pretrained",
            filling(save, lambda tokenizer, path: "step_000004" in str(path)),
        )
    elif moment == "rollouts":
        monkeypatch.setattr(
            Run,
            "_write_rollouts",
            filling(Run._write_rollouts, lambda run, number, *a: number == 4),
        )
    else:
        monkeypatch.setattr(
            Run, "rollout_phase", filling(Run.rollout_phase, lambda run: run.state.step == 4)
        )
    run = small_disk / "run"
    said = aha("run", recipe, "--set", f"run_dir={small_disk}")
    plain(said, 1, "full", str(small_disk), "free some space")
    assert fillers
    assert not list((run / "zero" / "checkpoints").glob("*.tmp-*"))
    whole = checkpoint.newest(run / "zero" / "checkpoints")
    assert whole is not None
    assert whole.name in ("step_000002", "step_000004")
    monkeypatch.undo()
    fillers[0].unlink()
    plain(aha("resume", run), 0, "resuming from")
    assert same.difference(unbroken, run) is None


def test_a_full_disk_where_none_can_be_mounted(
    aha: Aha, recipe: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush of a file of the second checkpoint finds no space."""
    flush = os.fsync

    def no_space(handle: int) -> None:
        if "step_000004.tmp-" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    monkeypatch.setattr(os, "fsync", no_space)
    plain(aha("run", recipe), 1, "the disk is full", "step_000004", "run the same command again")
    monkeypatch.undo()
    run = tmp_path / "runs" / "run"
    assert [path.name for path in sorted((run / "zero" / "checkpoints").iterdir())] == [
        "step_000000",
        "step_000002",
    ]
    plain(aha("run", recipe), 0, "resuming from step_000002")
    assert same.difference(unbroken, run) is None


def test_too_little_room_for_two_checkpoints_is_said_before_the_start(
    aha: Aha, recipe: Path, small_disk: Path
) -> None:
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - 300_000)
    said = aha("run", recipe, "--set", f"run_dir={small_disk}")
    plain(said, 1, "two checkpoints need", "run_dir=DIR")
    filler.unlink()
    plain(
        aha("run", recipe, *short("zero.steps=1"), "--set", f"run_dir={small_disk}"), 1, "--rerun"
    )


def test_a_folder_that_may_not_be_written(aha: Aha, recipe: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = aha("run", recipe, "--set", f"run_dir={small_disk}")
    plain(said, 1, f"cannot write the run folder {small_disk}", "run_dir=DIR")


def test_a_folder_that_may_not_be_written_any_more(
    aha: Aha, unbroken: Path, small_disk: Path
) -> None:
    run = small_disk / "run"
    shutil.copytree(unbroken, run)
    (run / "zero" / "DONE").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    plain(aha("resume", run), 1, "cannot write", "run_dir=DIR")


# -- numbers --------------------------------------------------------------------------------------


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int], how: str) -> None:
    """Make loss or gradient of some steps (from 0) not finite; the fault lies in the loss only."""
    current = [0]
    loss_of, step_of = step.column_loss, step.Trainer.step

    def loss(logp: torch.Tensor, **named: Any) -> Any:
        value, stats = loss_of(logp, **named)
        if current[0] in steps:
            nothing = logp.sum() * 0
            value = value * float("nan") if how == "loss" else value + (nothing * nothing).sqrt()
        return value, stats

    def counted(self: Any, trees: Any, number: int, **named: Any) -> Any:
        current[0] = number
        return step_of(self, trees, number, **named)

    monkeypatch.setattr(step, "column_loss", loss)
    monkeypatch.setattr(step.Trainer, "step", counted)


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_skipped_and_dumped(
    aha: Aha, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    spoil(monkeypatch, {1}, how)
    said = aha("run", recipe, *short("zero.steps=3", "zero.checkpoint_every=1", "zero.keep_last=9"))
    plain(said, 0, "step 2: loss or gradient is not finite", "bad_batches")
    run = tmp_path / "runs" / "run"
    assert [row["optim/skipped/sum"] for row in metrics(run)[1:]] == [0, 1, 0]
    dump = run / "zero" / "bad_batches" / "step_000002.jsonl"
    rows = [json.loads(line) for line in dump.read_text().splitlines()]
    assert len(rows) == 2 * 4  # every answer of the step, to replay it
    assert all(row["token_ids"] for row in rows)
    assert events(run, "skipped_step")[0]["step"] == 2
    one, two, three = (
        load_file(run / "zero" / "checkpoints" / f"step_{n:06d}" / "hf" / "model.safetensors")
        for n in (1, 2, 3)
    )
    assert all(one[name].equal(two[name]) for name in one)
    assert all(three[name].isfinite().all() for name in three)


def test_three_in_a_row_stop_the_run(
    aha: Aha, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, {2, 3, 4}, "loss")
    said = aha("run", recipe, *short("zero.checkpoint_every=1", "zero.keep_last=9"))
    plain(said, 1, "3 updates in a row", "step 5", "bad_batches", "Lower zero.optim.lr")
    run = tmp_path / "runs" / "run"
    assert [row["optim/skipped/sum"] for row in metrics(run)[1:]] == [0, 0, 1, 1, 1]
    saved = checkpoint.newest(run / "zero" / "checkpoints")
    assert saved is not None
    tensors = load_file(saved / "hf" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_equal_rewards_change_nothing(aha: Aha, recipe: Path, model: Path, tmp_path: Path) -> None:
    task = exact_task(tmp_path / "never", "what no tiny model says")
    settings = short(
        *task, "zero.rewards={accuracy=1.0}", "zero.kl_coef=0.0", "zero.dynamic_sampling=0",
        "zero.steps=6",
    )  # fmt: skip
    plain(aha("run", recipe, *settings), 0, "every reward was 0 for 5 steps", "aha doctor")
    run = tmp_path / "runs" / "run"
    assert all(row["group/flat/share"] == 1 for row in metrics(run)[1:])
    before = load_file(model / "model.safetensors")
    after = load_file(run / "zero" / "checkpoints" / "step_000006" / "hf" / "model.safetensors")
    assert all(before[name].equal(after[name]) for name in before)


def test_answers_that_are_all_cut_are_said(aha: Aha, recipe: Path) -> None:
    settings = short("zero.max_answer_tokens=2", "zero.steps=3", "zero.dynamic_sampling=0")
    plain(aha("run", recipe, *settings), 0, "100 % of the answers were cut", "max_answer_tokens")


# -- graders --------------------------------------------------------------------------------------


def test_a_killed_grader_changes_nothing(
    aha: Aha, recipe: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = workers.GraderPool._send
    sent = [0]

    def sending(self: Any, worker: Any, case: Any) -> None:
        send(self, worker, case)
        sent[0] += 1
        if sent[0] in (1, 4):  # never twice the same case: its second try comes next
            os.kill(worker.process.pid, signal.SIGKILL)

    monkeypatch.setattr(workers.GraderPool, "_send", sending)
    assert aha("run", recipe).code == 0
    assert sent[0] > 3
    assert same.difference(unbroken, tmp_path / "runs" / "run") is None


def test_graders_that_fail_on_everything_stop_the_run(
    aha: Aha, recipe: Path, tmp_path: Path
) -> None:
    source = tmp_path / "unreadable.jsonl"
    rows = [{"question": f"no answer {n}", "gold": "\\frac{1}{"} for n in range(8)]
    source.write_text("\n".join(json.dumps(row) for row in rows))
    said = aha("run", recipe, *short(f"data.train={source}"))
    plain(said, 1, "our graders failed on", "max_grader_failures=0.05", "aha grade")
    assert (tmp_path / "runs" / "run" / "zero" / "checkpoints" / "step_000000").is_dir()


def test_a_grader_that_cannot_start_stops_the_run(
    aha: Aha, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.sys, "executable", "/bin/false")
    plain(aha("run", recipe), 1, "a grader process does not start", "math_verify")


# -- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_and_goes_on_to_the_same_bytes(
    aha: Aha,
    recipe: Path,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    run = tmp_path / "runs" / "run"
    signalled(monkeypatch, 3, number)
    plain(aha("run", recipe), 130, "stopped after step 4", f"aha resume {run}")
    assert events(run, "ended")[0]["error"].startswith("Stopped")
    saved = checkpoint.newest(run / "zero" / "checkpoints")
    assert saved is not None
    assert saved.name == "step_000004"
    monkeypatch.undo()
    plain(aha("resume", run), 0, "resuming from step_000004")
    assert same.difference(unbroken, run) is None


def test_other_threads_and_memory_do_not_change_a_run_that_was_begun(
    aha: Aha, recipe: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were resolved at its first start; they change rounding and schedule."""
    signalled(monkeypatch, 3, signal.SIGTERM)
    assert aha("run", recipe).code == 130
    monkeypatch.undo()
    changes = ["--set", "threads=2", "--set", "memory_gb=8.0"]
    plain(aha("run", recipe, *changes), 0, "resuming from step_000004", "1 threads")
    assert torch.get_num_threads() == 1
    assert same.difference(unbroken, tmp_path / "runs" / "run") is None


@pytest.mark.slow
def test_a_stop_from_outside(aha: Aha, recipe: Path, unbroken: Path, tmp_path: Path) -> None:
    """As a terminal does it: the whole group of a process of its own gets the signal."""
    command = [sys.executable, "-m", "aha", "run", str(recipe)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(line.startswith("step 1/6") for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130, rest + errors
    assert "stopped after step" in errors
    assert "Traceback" not in errors
    run = tmp_path / "runs" / "run"
    plain(aha("resume", run), 0, "resuming from")
    assert same.difference(unbroken, run) is None


def test_the_second_stop_leaves_at_once(
    aha: Aha, recipe: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "run"
    signalled(monkeypatch, 3, signal.SIGINT, signal.SIGINT)
    plain(aha("run", recipe), 130, "interrupted", "aha resume")
    saved = checkpoint.newest(run / "zero" / "checkpoints")
    assert saved is not None
    assert saved.name == "step_000002"
    monkeypatch.undo()
    plain(aha("resume", run), 0, "resuming from step_000002")
    assert same.difference(unbroken, run) is None


def test_an_interrupted_evaluation_in_a_run_goes_on(
    aha: Aha, recipe: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summarise = evals.summarise
    asked = [0]

    def twice(*arguments: Any) -> Any:
        asked[0] += 1
        if asked[0] == 2:
            raise KeyboardInterrupt
        return summarise(*arguments)

    monkeypatch.setattr(evals, "summarise", twice)
    plain(aha("run", recipe), 130)
    monkeypatch.undo()
    run = tmp_path / "runs" / "run"
    assert (run / "zero" / "eval" / "step_000002" / "samples.partial.jsonl").is_file()
    plain(aha("resume", run), 0)
    assert same.difference(unbroken, run) is None


def test_a_kill_between_a_result_and_the_removal_of_its_parts(
    aha: Aha, unbroken: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    (run / "zero" / "DONE").unlink()
    shutil.rmtree(run / "zero" / "checkpoints" / "step_000006")
    evaluation = run / "zero" / "eval" / "step_000006"
    shutil.copy(evaluation / "samples.jsonl", evaluation / "samples.partial.jsonl")
    plain(aha("resume", run), 0, "resuming from step_000004")
    assert same.difference(unbroken, run) is None


def test_a_kill_while_the_last_checkpoint_drops_an_older_one(
    aha: Aha, unbroken: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    (run / "zero" / "DONE").unlink()
    shutil.copytree(
        run / "zero" / "checkpoints" / "step_000004", run / "zero" / "checkpoints" / "step_000002"
    )
    (run / "zero" / "checkpoints" / "step_000002" / "manifest.json").unlink()
    (run / "zero" / "grades.jsonl").write_text('{"key": "half a ver')
    plain(aha("resume", run), 0, "resuming from step_000006")
    assert same.difference(unbroken, run) is None


def test_a_kill_before_the_recipe_was_written(
    aha: Aha, recipe: Path, tmp_path: Path, unbroken: Path
) -> None:
    run = tmp_path / "runs" / "run"
    run.mkdir(parents=True)
    (run / ".lock").write_text("123")
    (run / "recipe.toml.tmp-123").write_text("name = ")
    plain(aha("run", recipe), 0)
    assert same.difference(unbroken, run) is None


def test_a_reader_that_goes_away_is_no_mistake(recipe: Path) -> None:
    """`aha plan | head -1` and the like."""
    command = [sys.executable, "-m", "aha", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()

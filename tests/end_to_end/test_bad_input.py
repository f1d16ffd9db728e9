"""Bad input and a bad world: the right exit code, a sentence that says what to do, nothing lost."""

import contextlib
import fcntl
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
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from aha.evals import run as evals
from aha.rewards import workers
from aha.train import checkpoint, step
from aha.train.run import Run
from tests.chaos import same
from tests.end_to_end.conftest import Said, events, exact_task, metrics, short

Aha = Callable[..., Said]


def plain(said: Said, code: int, *parts: str) -> None:
    """The exit code, every part in what was printed (wherever it is folded), and no traceback."""
    assert said.code == code, said.text
    text = "".join(said.text.split())
    for part in parts:
        assert "".join(part.split()) in text, said.text
    assert "Traceback" not in said.text
    assert "mistake in aha" not in said.text


# -- recipes, data, models ------------------------------------------------------------------------

REFUSED: dict[str, tuple[list[str], int, list[str]]] = {
    "unknown key": (["zero.groupsize=8"], 2, ["[zero] has no 'groupsize'", "'group_size'"]),
    "group of one": (["zero.group_size=1"], 2, ["group_size=1", "set group_size to 2 or more"]),
    "odd minibatches": (["zero.minibatches=4"], 2, ["steps=6 is not a multiple"]),
    "not a number": (["zero.steps=many"], 2, ["zero.steps", "many"]),
    "not an override": (["zero.steps"], 2, ["section.key=value"]),
    "unknown reward": (["zero.rewards={acuracy=1.0}"], 2, ["no reward 'acuracy'", "'accuracy'"]),
    "phase above data": (["zero.prompts_per_step=60"], 2, ["120 different questions", "lower"]),
    "prompts too long": (["data.max_prompt_tokens=5"], 1, ["max_prompt_tokens"]),
    "no such data": (["data.train=nothing.jsonl"], 1, ["no data at nothing.jsonl"]),
    "no such task": (["data.train=arithmetics"], 1, ["did you mean the task 'arithmetic'"]),
    "no such model": (["model.path=./nothing"], 1, ["no folder ./nothing"]),
    "too little memory": (["memory_gb=0.1"], 3, ["does not fit", "Try"]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_run_is_refused(aha: Aha, recipe: Path, what: str) -> None:
    settings, code, parts = REFUSED[what]
    words = [word for setting in settings for word in ("--set", setting)]
    plain(aha("run", recipe, *words), code, *parts)


def test_a_recipe_that_cannot_be_read(aha: Aha, tmp_path: Path, recipe: Path) -> None:
    plain(aha("run", tmp_path / "recipes.toml"), 2, "no recipe at", "did you mean", "recipe.toml?")
    broken = tmp_path / "broken.toml"
    broken.write_text("[zero\nsteps = 3")
    plain(aha("run", broken), 2, "broken.toml cannot be parsed", "line 1")
    plain(aha("run", recipe, "zeroo"), 2, "no stage 'zeroo'", "it has: zero")
    empty = tmp_path / "empty.toml"
    empty.write_text("name = 'x'")
    plain(aha("run", empty), 2, "no stage; add a [zero] or a [pretrain] table")


DATA: dict[str, tuple[str, list[str]]] = {
    "empty": ("", ["holds no problem"]),
    "other columns": ('{"frage": "1+1", "antwort": "2"}', ["antwort, frage", "?question=COLUMN"]),
    "not JSON": ('{"question": "1+1", "answer": "2"}\n{oops', ["1 of 2 rows are broken", "data.jsonl:2"]),
    "empty question": ('{"question": " ", "answer": "2"}', ["broken", "empty"]),
    "wrong type": ('{"question": ["a"], "answer": "2"}', ["broken", "question"]),
}  # fmt: skip


@pytest.mark.parametrize("what", DATA)
def test_data_that_cannot_be_used(aha: Aha, recipe: Path, tmp_path: Path, what: str) -> None:
    text, parts = DATA[what]
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    plain(aha("run", recipe, "--set", f"data.train={path}"), 1, "data.jsonl", *parts)


def test_a_damaged_data_file(aha: Aha, recipe: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(b"this is no gzip")
    plain(aha("run", recipe, "--set", f"data.train={path}"), 1, str(path), "gzip")
    table = tmp_path / "data.parquet"
    table.write_bytes(b"PAR1 and nothing")
    plain(aha("run", recipe, "--set", f"data.train={table}"), 1, str(table))


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def half_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_weight_that_is_not_finite(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], float("nan"))
    save_file(tensors, path, metadata={"format": "pt"})


def unknown_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "nothing_known"}))


MODELS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no tokenizer": (no_tokenizer, ["without tokenizer", "save_pretrained"]),
    "a pickle": (a_pickle, ["pytorch_model.bin", "refused", "convert"]),
    "half the weights": (half_the_weights, ["model.safetensors", "again"]),
    "not finite": (a_weight_that_is_not_finite, ["non-finite", "damaged"]),
    "unknown architecture": (unknown_architecture, ["nothing_known"]),
}


@pytest.mark.parametrize("what", MODELS)
def test_a_model_that_cannot_be_used(
    aha: Aha, recipe: Path, model: Path, tmp_path: Path, what: str
) -> None:
    damage, parts = MODELS[what]
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    damage(folder)
    plain(aha("run", recipe, "--set", f"model.path={folder}"), 1, *parts)


def test_debug_shows_the_traceback(aha: Aha, recipe: Path) -> None:
    said = aha("run", recipe, "--set", "zero.group_size=1", debug=True)
    assert said.code == 2
    assert "Traceback" in said.err


# -- run folders ----------------------------------------------------------------------------------


def test_a_folder_that_is_no_run(aha: Aha, recipe: Path, tmp_path: Path, unbroken: Path) -> None:
    plain(aha("resume", tmp_path / "nothing"), 1, "is not a run folder")
    plain(aha("resume", unbroken.parent / "ran"), 1, "runs in", "run")
    other = tmp_path / "runs" / "run"
    other.mkdir(parents=True)
    (other / "thesis.tex").write_text("important")
    plain(aha("run", recipe), 1, "not empty and not a run folder", "thesis.tex", "name=NAME")
    assert (other / "thesis.tex").read_text() == "important"


def test_another_recipe_needs_another_name_or_rerun(aha: Aha, recipe: Path, tmp_path: Path) -> None:
    settings = short("zero.steps=1", "zero.dynamic_sampling=0")
    assert aha("run", recipe, *settings).code == 0
    run = tmp_path / "runs" / "run"
    rollouts = (run / "zero" / "rollouts" / "step_000001.jsonl").read_bytes()
    other = [*settings, "--set", "seed=4"]
    plain(aha("run", recipe, *other), 1, "seed: 3 -> 4", "name=NAME", "--rerun")
    assert (run / "zero" / "rollouts" / "step_000001.jsonl").read_bytes() == rollouts
    plain(aha("run", recipe, *other, "--rerun"), 0)
    assert (run / "zero" / "rollouts" / "step_000001.jsonl").read_bytes() != rollouts
    (aside,) = run.glob("zero-*")
    assert (aside / "rollouts" / "step_000001.jsonl").read_bytes() == rollouts
    plain(aha("resume", run), 0, "done before")  # the stored recipe is the new one
    plain(aha("run", recipe, *settings), 1, "seed: 4 -> 3")


def test_one_process_writes_in_a_run(aha: Aha, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    run.mkdir(parents=True)
    with (run / ".lock").open("w") as lock:
        lock.write("4321")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        plain(aha("run", recipe), 1, "in use by another aha", "4321", "name=NAME")
    assert [path.name for path in run.iterdir()] == [".lock"]


def test_a_finished_run_is_left_alone(aha: Aha, unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    before = {path: path.read_bytes() for path in (run / "zero").rglob("*") if path.is_file()}
    plain(aha("resume", run), 0, "zero: done before")
    plain(aha("run", run / "recipe.toml", "--set", f"run_dir={tmp_path}"), 0, "zero: done before")
    after = {path: path.read_bytes() for path in (run / "zero").rglob("*") if path.is_file()}
    assert after == before


def begun_again(unbroken: Path, tmp_path: Path) -> Path:
    """A copy of the whole run, as if it had been killed after its last checkpoint."""
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    (run / "zero" / "DONE").unlink()
    return run


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_said_and_an_older_one_used(
    aha: Aha, unbroken: Path, tmp_path: Path
) -> None:
    run = begun_again(unbroken, tmp_path)
    flip(run / "zero" / "checkpoints" / "step_000006" / "state" / "optimizer.safetensors")
    said = aha("resume", run)
    plain(said, 0, "step_000006 is damaged", "does not match", "resuming from step_000004")
    assert same.difference(unbroken, run) is None


def test_only_damaged_checkpoints_do_not_start_over(
    aha: Aha, unbroken: Path, tmp_path: Path
) -> None:
    run = begun_again(unbroken, tmp_path)
    for path in (run / "zero" / "checkpoints").iterdir():
        flip(path / "hf" / "model.safetensors")
    lines = metrics(run)
    plain(aha("resume", run), 1, "no checkpoint in", "is whole", "start over")
    assert metrics(run) == lines


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


def signalled(monkeypatch: pytest.MonkeyPatch, at_step: int, *numbers: signal.Signals) -> None:
    """The signals arrive while the answers of a step are written."""
    write = Run._write_rollouts

    def writing(self: Run, number: int, *rest: Any) -> None:
        if number == at_step:
            for each in numbers:
                os.kill(os.getpid(), each)
        write(self, number, *rest)

    monkeypatch.setattr(Run, "_write_rollouts", writing)


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


def test_a_reader_that_goes_away_is_no_mistake(recipe: Path) -> None:
    """`aha plan | head -1` and the like."""
    command = [sys.executable, "-m", "aha", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()

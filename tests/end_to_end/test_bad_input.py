"""Bad input: the right exit code, a sentence that says what to do, and nothing lost."""

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.chaos import same
from tests.end_to_end.conftest import Said, metrics, plain, short

Aha = Callable[..., Said]


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
    "no such data": (["data.train=nothing.jsonl"], 1, ["no data at nothing.jsonl", "gym:NAME) or a hub id"]),
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
    plain(
        aha("run", empty),
        2,
        "no stage; add a [zero], an [sft] or a [pretrain] table, or [stage.NAME]",
    )


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

"""A tiny model, recipes for it, and the command line called in this process."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aha.train.run import Run
from tests.chaos.small_run import make_model, write_recipe


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything printed, folded lines joined."""
        return " ".join((self.out + " " + self.err).split())


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture
def recipe(tmp_path: Path, model: Path) -> Path:
    """Three phases of two steps; see small_run.py. Runs go to tmp_path/runs/run."""
    return write_recipe(tmp_path / "recipe.toml", model, run_dir=tmp_path / "runs")


@pytest.fixture
def aha(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`aha("run", recipe, "--set", ...)` in this process."""
    from aha.__main__ import _run

    def call(*words: object, debug: bool = False) -> Said:
        capsys.readouterr()
        code = _run([str(word) for word in words], debug)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def unbroken(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the whole recipe, never disturbed."""
    from aha.__main__ import _run

    folder = tmp_path_factory.mktemp("unbroken")
    written = write_recipe(folder / "recipe.toml", model, run_dir=folder / "runs")
    assert _run(["run", str(written)], True) == 0
    return folder / "runs" / "run"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB of its own; needs the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if mount is None or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def plain(said: Said, code: int, *parts: str) -> None:
    """The exit code, every part in what was printed (wherever it is folded), and no traceback."""
    assert said.code == code, said.text
    text = "".join(said.text.split())
    for part in parts:
        assert "".join(part.split()) in text, said.text
    assert "Traceback" not in said.text
    assert "mistake in aha" not in said.text


def short(*more: str) -> list[str]:
    """Overrides: one step a phase, no evaluation. Each of `more` is one `section.key=value`."""
    settings = ["zero.minibatches=1", "zero.eval_every=0", "zero.eval.problems=1", *more]
    return [word for setting in settings for word in ("--set", setting)]


def metrics(run: Path) -> list[dict]:  # type: ignore[type-arg]
    lines = (run / "zero" / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def events(run: Path, kind: str) -> list[dict]:  # type: ignore[type-arg]
    lines = (run / "events.jsonl").read_text("utf-8").splitlines()
    return [row for line in lines if (row := json.loads(line))["event"] == kind]


def exact_task(folder: Path, gold: str, *, rows: int = 16) -> list[str]:
    """Settings for questions that all have the same answer, compared letter by letter."""
    folder.mkdir()
    for split in ("train", "heldout"):
        lines = [
            json.dumps({"question": f"Say it, {split} {n}", "gold": gold, "kind": "exact"})
            for n in range(rows)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return [f"data.train={folder}", f"data.heldout={folder}"]


def signalled(monkeypatch: pytest.MonkeyPatch, at_step: int, *numbers: signal.Signals) -> None:
    """The signals arrive while the answers of a step are written."""
    write = Run._write_rollouts

    def writing(self: Run, number: int, *rest: Any) -> None:
        if number == at_step:
            for each in numbers:
                os.kill(os.getpid(), each)
        write(self, number, *rest)

    monkeypatch.setattr(Run, "_write_rollouts", writing)

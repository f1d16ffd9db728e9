"""The course of a stage that learns examples, on a model of one matrix: the same course after any end."""

import io
import json
import math
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from aha import files
from aha.config import OptimConfig
from aha.errors import RunError, Stopped
from aha.report.console import Console
from aha.report.metrics import MetricsFile, comparable
from aha.stages.course import Course
from aha.stages.stop import Stop
from aha.train.optim import Optimizer
from aha.train.step import StepResult

STEPS = 7


@dataclass(frozen=True)
class Table:
    eval_every: int = 0
    checkpoint_every: int = 2
    keep_last: int = 2


class Killed(Exception):
    """Stands for a kill: nothing of ours catches it."""


def course(
    folder, *, table=None, killed_at=-1, broken=(), event=lambda kind, **facts: None, heldout=True
):
    """A matrix that learns to be one; `killed_at`: a step that does not end; `broken`: without a number."""
    torch.manual_seed(0)
    model = nn.Linear(3, 3, bias=False)
    optimizer = Optimizer(model, OptimConfig(lr=0.1, schedule="cosine"), STEPS)

    def distance():
        return (model.weight - torch.eye(3)).square().mean()

    def learn(step):
        loss = distance() * (math.nan if step in broken else 1.0)
        loss.backward()
        if step == killed_at:
            raise Killed
        norm, lr, made = optimizer.step(step)
        metrics = {"sft/loss": float(loss.detach()), "optim/lr": lr, "optim/grad_norm": norm}
        return StepResult(metrics=metrics | {"optim/tokens/sum": 3.0}, made=made)

    def export(path, step):
        path.mkdir()
        save_file({"weight": model.weight.detach().clone()}, path / "model.safetensors")
        (path / "card.json").write_text(json.dumps({"step": step}))

    made = Course(
        name="toy",
        folder=folder,
        config=table or Table(),
        steps=STEPS,
        step=learn,
        heldout=lambda step: {"sft/heldout/loss": float(distance().detach())} if heldout else {},
        export=export,
        loss="sft/loss",
        policy=model,
        optimizer=optimizer,
        console=Console(stream=io.StringIO()),
        attempt=1,
        event=event,
    )
    made.begin("aha toy", ["one matrix"])
    return made


def trained(folder, **how):
    made = course(folder, **how)
    made.train(Stop())
    return made


def kept(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def rows(folder):
    return [comparable(row) for row in MetricsFile(folder / "metrics.jsonl").rows()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "toy"
    made = trained(folder)
    return folder, made


def test_a_course_learns_and_says_what_it_did(whole):
    folder, made = whole
    ends = made.ends("sft", "loss")
    assert ends["heldout_loss"] < ends["heldout_loss_before"]
    found = MetricsFile(folder / "metrics.jsonl").rows()
    assert [row["step"] for row in found] == list(range(STEPS + 1))
    measured = [row["step"] for row in found if row.get("sft/heldout/loss") is not None]
    assert measured == [0, STEPS]  # before and after
    assert all(row["optim/skipped/sum"] == 0 for row in found[1:])
    assert kept(folder) == ["step_000006", "step_000007"]
    last = folder / "checkpoints" / "step_000007"
    assert files.verify(last) is None
    assert json.loads((last / "hf" / "card.json").read_text()) == {"step": 7}


@pytest.mark.parametrize("killed_at", range(STEPS))
def test_killed_in_any_step_it_goes_on_to_the_same_bytes(whole, tmp_path, killed_at):
    folder = tmp_path / "toy"
    with pytest.raises(Killed):
        trained(folder, killed_at=killed_at)
    again = trained(folder)
    assert again.resumed
    assert rows(folder) == rows(whole[0])  # those of steps that were computed twice once
    for name in ("hf/model.safetensors", "state/optimizer.safetensors"):
        path = f"checkpoints/step_000007/{name}"
        assert files.sha256(folder / path) == files.sha256(whole[0] / path)
    assert again.ends("sft", "loss") == whole[1].ends("sft", "loss")


def test_what_is_done_is_not_done_again(whole):
    before = (whole[0] / "metrics.jsonl").read_bytes()
    assert trained(whole[0], killed_at=6).state.step == STEPS
    assert (whole[0] / "metrics.jsonl").read_bytes() == before


def test_events_tell_where_it_began_and_what_was_saved(tmp_path):
    said = []
    trained(
        tmp_path / "toy",
        event=lambda kind, **facts: said.append((kind, facts["stage"], facts["step"])),
    )
    saved = [("checkpoint", "toy", step) for step in (0, 2, 4, 6, 7)]
    assert said == [("start", "toy", 0), *saved]


def test_a_stop_is_saved_first(tmp_path):
    made = course(tmp_path / "toy")
    with pytest.raises(
        Stopped, match=r"after step 1; everything is saved\. Go on with: aha resume "
    ):
        made.train(Stop(asked=True))
    assert "step_000001" in kept(tmp_path / "toy")
    assert trained(tmp_path / "toy").state.step == STEPS


def test_held_out_is_measured_as_often_as_asked(tmp_path):
    trained(tmp_path / "toy", table=Table(eval_every=3))
    found = MetricsFile(tmp_path / "toy" / "metrics.jsonl").rows()
    assert [r["step"] for r in found if r.get("sft/heldout/loss") is not None] == [0, 3, 6, 7]
    assert trained(tmp_path / "none", heldout=False).ends("sft", "loss") == {}


def test_updates_that_are_no_numbers_end_it_after_three_in_a_row(tmp_path):
    made = trained(tmp_path / "a", broken=(1, 2, 4))  # never three in a row
    assert made.state.step == STEPS
    with pytest.raises(RunError, match=r"3 updates in a row .*\(last: step 5\).*toy\.optim\.lr"):
        trained(tmp_path / "b", broken=(2, 3, 4))


def test_checkpoints_of_which_none_is_whole_are_refused(tmp_path):
    folder = tmp_path / "toy"
    trained(folder)
    for path in (folder / "checkpoints").glob("step_*"):
        (path / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"is whole\. Put a copy of one back, or move .*toy away"):
        course(folder)

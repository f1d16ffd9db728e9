"""The whole RL stage on a tiny model: it learns, and every switch runs and does what it says."""

import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.chaos import same
from tests.end_to_end.conftest import Said, exact_task, metrics, short, signalled


def curve(run: Path, name: str) -> list[float]:
    return [row[name] for row in metrics(run) if name in row and row[name] is not None]


def weights(run: Path, step: int):  # type: ignore[no-untyped-def]
    folder = run / "zero" / "checkpoints" / f"step_{step:06d}"
    return load_file(folder / "hf" / "model.safetensors")


def test_it_learns_to_say_seven(aha: Callable[..., Said], recipe: Path, tmp_path: Path) -> None:
    """One digit of ten is right and is rewarded with nothing but the group's mean to compare with."""
    task = exact_task(tmp_path / "seven", "7")
    said = aha(
        "run", recipe, *short(
            *task, "zero.steps=24", "zero.prompts_per_step=4",
            "zero.group_size=16", "zero.rewards={accuracy=1.0}", "zero.optim.lr=0.005",
            "zero.kl_coef=0.0", "zero.dynamic_sampling=0", "zero.checkpoint_every=24",
            "zero.eval.problems=8", "zero.eval.samples=4",
        )
    )  # fmt: skip
    assert said.code == 0, said.text
    run = tmp_path / "runs" / "run"
    reward = curve(run, "reward/mean")
    assert reward[0] < 0.25  # 1 digit of 10, and not every answer is one digit
    assert sum(reward[-3:]) / 3 > 0.8
    before, after = curve(run, "heldout/pass_at_1")
    assert before < 0.3
    assert after > 0.8
    assert max(curve(run, "policy/gap/mean")) < 1e-4
    rises = [b - a for a, b in pairwise(curve(run, "policy/entropy/mean"))]
    assert sum(rises) < 0  # it has made up its mind


def test_prefix_sharing_changes_the_cost_only(
    aha: Callable[..., Said], recipe: Path, tmp_path: Path
) -> None:
    runs = []
    for name, switch in (("shared", "true"), ("apart", "false")):
        changes = short("zero.steps=3", f"name={name}", f"zero.prefix_sharing={switch}")
        assert aha("run", recipe, *changes).code == 0
        runs.append(tmp_path / "runs" / name)
    for name in ("policy/loss", "optim/grad_norm", "policy/kl/mean", "policy/entropy/mean"):
        shared, apart = (curve(run, name) for run in runs)
        assert len(shared) == 3
        assert shared == pytest.approx(apart, abs=1e-4), name
    assert curve(runs[0], "reward/mean") == curve(runs[1], "reward/mean")


SWITCHES = {
    "minibatches": ["zero.minibatches=2", "zero.steps=4"],
    "trainer's log-probabilities": ["zero.old_logprobs=trainer", "zero.truncated_is=2.0"],
    "gradient checkpointing": ["model.gradient_checkpointing=true"],
    "whole-answer ratio, token mean": ["zero.ratio=sequence_mean", "zero.aggregation=token_mean"],
    "Dr. GRPO": ["zero.advantage=no_std", "zero.aggregation=constant", "zero.kl_coef=0.0"],
    "leave one out, dual clip": ["zero.advantage=leave_one_out", "zero.dual_clip=3.0"],
    "bfloat16": ["model.dtype=bfloat16", "zero.max_gap=1.0"],
    "chat-like tags": ["data.answer_tag=result", "zero.rewards={format=1.0}"],
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_runs(aha: Callable[..., Said], recipe: Path, tmp_path: Path, switch: str) -> None:
    steps = "zero.steps=2"
    said = aha("run", recipe, *short(steps, "zero.dynamic_sampling=0", *SWITCHES[switch]))
    assert said.code == 0, said.text
    run = tmp_path / "runs" / "run"
    wanted = 4 if switch == "minibatches" else 2
    assert [row["step"] for row in metrics(run)] == list(range(wanted + 1))
    assert all(row["optim/skipped/sum"] == 0 for row in metrics(run)[1:])
    assert (run / "zero" / "DONE").is_file()


def test_minibatches_are_off_policy_after_the_first(
    aha: Callable[..., Said], recipe: Path, tmp_path: Path
) -> None:
    said = aha("run", recipe, *short("zero.minibatches=2", "zero.steps=4", "zero.optim.lr=0.02"))
    assert said.code == 0, said.text
    rows = metrics(tmp_path / "runs" / "run")[1:]
    assert [row["policy/version"] for row in rows] == [0, 0, 2, 2]
    assert ["policy/gap/mean" in row for row in rows] == [True, False, True, False]
    first, second = rows[0]["policy/ratio/mean"], rows[1]["policy/ratio/mean"]
    assert first == pytest.approx(1, abs=1e-5)
    assert rows[0]["optim/grad_norm"] == 0 or abs(second - 1) > 1e-5


def test_adapters_train_and_the_base_stays(
    aha: Callable[..., Said], recipe: Path, model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    task = exact_task(tmp_path / "seven", "7")
    changes = short(
        "model.lora_rank=4", "model.lora_alpha=16.0", "zero.steps=3", *task,
        "zero.group_size=16", "zero.optim.lr=0.05",
    )  # fmt: skip
    said = aha("run", recipe, *changes)
    assert said.code == 0, said.text
    run = tmp_path / "runs" / "run"
    before, after = load_file(model / "model.safetensors"), weights(run, 3)
    changed = {name for name in before if not before[name].equal(after[name])}
    assert after.keys() == before.keys()  # an ordinary model folder, adapters merged
    assert any("proj" in name for name in changed)
    assert all("proj" in name for name in changed)  # embedding, head and norms are frozen


def test_flat_groups_are_refilled(aha: Callable[..., Said], recipe: Path, tmp_path: Path) -> None:
    task = exact_task(tmp_path / "seven", "7", rows=64)
    settings = [*task, "zero.steps=2"]
    settings += ["zero.prompts_per_step=4", "zero.rewards={accuracy=1.0}", "zero.optim.lr=1e-6"]
    flat = {}
    for refills in (0, 3):
        name = f"refills{refills}"
        said = aha(
            "run", recipe, *short(*settings, f"name={name}", f"zero.dynamic_sampling={refills}")
        )
        assert said.code == 0, said.text
        rows = metrics(tmp_path / "runs" / name)[1:]
        flat[refills] = sum(row["group/flat/share"] for row in rows)
        refilled = [row["group/refilled/sum"] for row in rows]
        assert sum(refilled) == 0 if refills == 0 else sum(refilled) > 0
    assert flat[3] < flat[0]


def test_answers_that_are_cut_can_be_masked_or_fined(
    aha: Callable[..., Said], recipe: Path, tmp_path: Path
) -> None:
    """With every answer cut, masking leaves nothing to learn from; a fine lowers the reward by 1."""
    rows = {}
    for name, setting in (
        ("keep", "zero.overlong=keep"),
        ("mask", "zero.overlong=mask"),
        ("fine", "zero.overlong_penalty_tokens=1"),
    ):
        changes = short(
            f"name={name}", setting, "zero.steps=1", "zero.max_answer_tokens=3",
            "zero.dynamic_sampling=0", "zero.group_size=8",
        )  # fmt: skip
        assert aha("run", recipe, *changes).code == 0
        rows[name] = metrics(tmp_path / "runs" / name)[1]
    assert rows["keep"]["rollout/cut/share"] == 1
    assert rows["keep"]["optim/tokens/sum"] == 2 * 8 * 3  # KL pulls on every token
    assert rows["mask"]["optim/tokens/sum"] == 0
    assert rows["fine"]["reward/overlong/mean"] == -1
    assert rows["fine"]["reward/mean"] == rows["keep"]["reward/mean"] - 1


STATES = {
    "adapters": ["model.lora_rank=4", "zero.optim.lr=0.02"],
    "bfloat16": ["model.dtype=bfloat16", "zero.max_gap=1.0"],
    "schedule": ["zero.optim.schedule=cosine", "zero.optim.warmup_steps=2"],
    "trainer's log-probabilities": ["zero.old_logprobs=trainer", "zero.truncated_is=2.0"],
    "no reference": ["zero.kl_coef=0.0"],
    "adapters, no reference": ["model.lora_rank=4", "zero.kl_coef=0.0"],
}


@pytest.mark.parametrize(
    "state",
    [pytest.param(name, marks=[] if name == "adapters" else [pytest.mark.slow]) for name in STATES],
)
def test_every_kind_of_state_survives_a_stop(
    aha: Callable[..., Said],
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    """Stopped after the second phase and resumed: the same bytes as without (see also chaos/)."""
    task = exact_task(tmp_path / "seven", "7")
    words = short(*task, "zero.minibatches=2", "zero.group_size=8", *STATES[state])
    words = (*words, "--set", "name=one")  # model cards hold the name
    whole, halves = tmp_path / "whole" / "one", tmp_path / "halves" / "one"
    assert aha("run", recipe, *words, "--set", f"run_dir={whole.parent}").code == 0
    signalled(monkeypatch, 3, signal.SIGTERM)
    said = aha("run", recipe, *words, "--set", f"run_dir={halves.parent}")
    assert said.code == 130, said.text
    monkeypatch.undo()
    said = aha("resume", halves)
    assert said.code == 0, said.text
    assert same.difference(whole, halves) is None
    norms = curve(whole, "optim/grad_norm")
    assert norms[-1] > 0  # there was something to remember

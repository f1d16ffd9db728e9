"""RL for all scenarios on a tiny model: open prompts, late preference rewards, levels, the plateau."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aha.train import plateau
from tests.chaos import same
from tests.chaos.small_run import make_tokenizer
from tests.end_to_end.conftest import Said, events, metrics, plain, short, signalled

Aha = Callable[..., Said]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward model: what it likes means nothing, but it likes some answers more."""
    import transformers as tf

    path = tmp_path_factory.mktemp("liking") / "model"
    words = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        tf.LlamaForSequenceClassification(
            tf.LlamaConfig(
                vocab_size=len(words),
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=512,
                initializer_range=0.25,
                num_labels=1,
                bos_token_id=None,
                eos_token_id=words.eos_token_id,
                pad_token_id=None,
            )
        ).save_pretrained(path)
    words.save_pretrained(path)
    return path


@pytest.fixture
def settings(tmp_path: Path, judge: Path) -> list[str]:
    """One arithmetic question and one open prompt a step, three steps, preference rewards in the last."""
    prompts, others = tmp_path / "prompts.jsonl", tmp_path / "others.jsonl"
    for path, whom in ((prompts, "person"), (others, "friend")):
        rows = [{"prompt": f"How do I thank {whom} {n}?"} for n in range(16)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    sums = "arithmetic?difficulty=1&lang=en&n=64"
    return [
        f'data.train=["{sums}", "{prompts}?kind=open&area=helpful"]',
        f'data.heldout=["{sums}&split=heldout", "{others}?kind=open"]',
        f'zero.reward_models.helpful.path="{judge}"',
        "zero.rewards_for.helpful={helpful=1.0, format=0.5}",
        "zero.steps=3", "zero.preference_share=0.34", "zero.eval.problems=4",
        "zero.dynamic_sampling=0", "zero.reference_every=0", "zero.temperature=0.7",
    ]  # fmt: skip


def test_open_prompts_are_trained_on_and_count_for_no_pass_rate(
    aha: Aha, recipe: Path, tmp_path: Path, settings: list[str]
) -> None:
    said = aha("run", recipe, *short(*settings))
    assert said.code == 0, said.text
    run = tmp_path / "runs" / "run"
    plain(said, 0, "helpful count from step 2 of 3 on", "16 more have no right answer")
    start, *rows = metrics(run)
    assert [row["preference/weight"] for row in rows] == [0.0, 1.0, 1.0]
    assert ["reward/helpful/mean" in row for row in rows] == [False, True, True]
    for row in rows:
        assert row["grade/open/share"] == 0.5
        shares = [row[f"grade/{s}/share"] for s in ("correct", "wrong", "unparsed")]
        assert sum(shares) == pytest.approx(1)  # of the arithmetic answers
        assert row["area/helpful/correct"] is None
        assert row["area/math/correct"] == row["grade/correct/share"]
        assert not [
            name for name in row if name.startswith("opinion/")
        ]  # no truth is known of them
    helpful = [json.loads(line) for line in _rollouts(run, 1) if '"open"' in line]
    assert {tuple(row["parts"]) for row in helpful} == {("format",)}
    assert all(row["valid"] for row in helpful)
    helpful = [json.loads(line) for line in _rollouts(run, 3) if '"open"' in line]
    assert {tuple(row["parts"]) for row in helpful} <= {("helpful", "format"), ("format",)}
    # held out: the open prompts are not asked, and not counted as wrong
    assert start["heldout/pass_at_1"] is not None
    asked = (run / "zero" / "eval" / "step_000003" / "samples.jsonl").read_text("utf-8")
    assert '"open"' not in asked


def _rollouts(run: Path, step: int) -> list[str]:
    path = run / "zero" / "rollouts" / f"step_{step:06d}.jsonl"
    return path.read_text("utf-8").splitlines()


def test_a_killed_run_goes_on_to_the_same_bytes(
    aha: Aha,
    recipe: Path,
    tmp_path: Path,
    settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Late preference rewards, a measured level, and a plateau in one run, stopped on the way."""
    words = short(
        *settings, 'zero.reward_models.helpful.normalise="start"', "zero.steps=8",
        "zero.reward_models.helpful.normalise_questions=3", "zero.preference_share=0.8",
        "zero.plateau_window=2", "zero.plateau_gain=1.0", "zero.checkpoint_every=1",
    )  # fmt: skip
    whole, halves = (tmp_path / name / "run" for name in ("whole", "halves"))
    assert aha("run", recipe, *words, "--set", f"run_dir={whole.parent}").code == 0
    signalled(monkeypatch, 4, signal.SIGTERM)
    said = aha("run", recipe, *words, "--set", f"run_dir={halves.parent}")
    assert said.code == 130, said.text
    monkeypatch.undo()
    said = aha("resume", halves)
    assert said.code == 0, said.text
    assert same.difference(whole, halves) is None
    # 7 of 8 steps have preference rewards; values of steps 2 .. 6 are the first to fill two windows
    assert [row["step"] for row in metrics(whole)][-1] == 6
    level = json.loads((whole / "zero" / "normalise.json").read_text("utf-8"))["helpful"]
    assert (level["questions"], level["answers"]) == (3, 12)
    assert level["scale"] > 0
    # what is there is read, never measured again; without it the run cannot go on
    assert "".join(said.text.split()).count("normalisehelpful:center") == 1
    assert len(events(halves, "normalise")) == 1


def test_the_plateau_ends_a_stage_as_its_last_step_would(
    aha: Aha, recipe: Path, tmp_path: Path
) -> None:
    words = short(
        "zero.steps=9", "zero.plateau_window=2", "zero.plateau_gain=1.0", "zero.dynamic_sampling=0"
    )  # fmt: skip
    said = aha("run", recipe, *words)
    plain(
        said, 0, "or when a window of 2 is not more than 1 above", "ended at step 4 by its plateau"
    )
    run = tmp_path / "runs" / "run"
    rows = metrics(run)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    gain = [row["plateau/gain"] for row in rows if "plateau/gain" in row]
    right = [row["reward/accuracy/mean"] for row in rows[1:]]
    assert gain == [pytest.approx(sum(right[2:]) / 2 - sum(right[:2]) / 2)]
    assert "heldout/pass_at_1" in rows[-1]  # the last evaluation
    assert (run / "zero" / "checkpoints" / "step_000004" / "hf").is_dir()
    facts = json.loads((run / "zero" / "DONE").read_text("utf-8"))
    assert facts["step"] == 4
    assert facts["ended"].startswith("ended at step 4 by its plateau: accuracy was")
    summary = json.loads((run / "zero" / "summary.json").read_text("utf-8"))
    assert (summary["steps"], summary["ended"]) == ([0, 4], facts["ended"])
    [event] = events(run, "plateau")
    assert (event["step"], event["what"]) == (4, "accuracy")
    # killed after its last checkpoint and before DONE: finished, not trained further
    before = {name: path.read_bytes() for name, path in same.files_of(run / "zero").items()}
    (run / "zero" / "DONE").unlink()
    assert aha("resume", run).code == 0
    after = {name: path.read_bytes() for name, path in same.files_of(run / "zero").items()}
    assert after.keys() == before.keys()
    assert [row["step"] for row in metrics(run)][-1] == 4


def test_a_rising_run_is_not_ended(
    aha: Aha, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows that always rise: all steps are taken."""
    words = short("zero.steps=4", "zero.plateau_window=1", "zero.dynamic_sampling=0")
    monkeypatch.setattr(plateau, "stands_still", lambda before, now, gain: False)
    assert aha("run", recipe, *words).code == 0
    rows = metrics(tmp_path / "runs" / "run")
    assert rows[-1]["step"] == 4
    assert sum("plateau/gain" in row for row in rows) == 3  # at steps 2, 3 and 4


def test_a_level_that_is_gone_stops_a_run_that_has_begun(
    aha: Aha,
    recipe: Path,
    tmp_path: Path,
    settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    level = ['zero.reward_models.helpful.normalise="start"']
    signalled(monkeypatch, 1, signal.SIGTERM)
    assert aha("run", recipe, *short(*settings, *level)).code == 130
    monkeypatch.undo()
    (tmp_path / "runs" / "run" / "zero" / "normalise.json").unlink()
    plain(aha("resume", tmp_path / "runs" / "run"), 1, "normalise.json is gone", "Put it back")

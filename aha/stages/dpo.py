"""Direct preference optimisation on pairs of answers, off-policy. DeepSeekMath A.1; docs/off_policy.md.

    RUN/NAME/data.json               what became of every row
    RUN/NAME/reference.safetensors   log-probabilities of the starting model, computed once
    RUN/NAME/mismatch.json           of stored rollouts: how far they are from the model, start and end
    RUN/NAME/metrics.jsonl           loss, accuracy, margin of each step; held out before, after and between
    RUN/NAME/checkpoints/step_N/     the model (hf/) and everything to go on from (state/)

A killed run goes on from its newest whole checkpoint to the same bytes. What is learned of a pair
`train/pairs.py` says.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from aha import files
from aha.config import DpoConfig, DpoStage, Recipe, SftConfig
from aha.data import templates
from aha.errors import DoesNotFit, RunError, keys_of
from aha.models import load as models
from aha.models.locate import locate
from aha.report.console import Console
from aha.stages import longest, off_policy, resolution
from aha.stages.course import Course
from aha.stages.dag import Node
from aha.stages.dpo_data import examples_of, load_data
from aha.stages.run_folder import RunFolder, check_disk
from aha.stages.stop import Stop, on_signal
from aha.train import plan
from aha.train.checkpoint import seed_all, step_name
from aha.train.optim import Optimizer
from aha.train.pairs import Anchored, DpoOptions, PairExample, PairTrainer
from aha.train.plan import Plan, Resolved
from aha.train.step import StepResult
from aha.train.supervised import Lessons

DATA, REFERENCE = "data.json", "reference.safetensors"


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Train; returns the facts for DONE. Goes on from the newest whole checkpoint if there is one.

    Raises:
        DataError: no pair can be used.
        ModelError, RunError, DoesNotFit: see there.
        Stopped: the user asked for it; a checkpoint was written first.
    """
    config = recipe.stage[node.name]
    assert isinstance(config, DpoStage)
    folder, stop = run_folder.begin(node), Stop()
    rows = load_data(config, recipe.data, recipe.seed)
    model_folder = locate(recipe.model.path)
    longest.check(recipe, node.name, models.describe(model_folder))
    resolved, size = resolve(recipe, config, folder, model_folder, node.name)
    check_disk(run_folder.root, size)
    torch.set_num_threads(resolved.threads)
    seed_all(recipe.seed)
    loaded = models.load(model_folder, recipe.model, dtype=resolved.dtype)
    template = templates.load_template(recipe.data, loaded.tokenizer, generation_eos=loaded.eos_ids)
    data = examples_of(config, template, rows, node.name)
    files.write_json(folder / DATA, data.facts)
    answers = rows.answers()
    measured = off_policy.measured(
        folder,
        answers,
        template,
        recipe.data,
        max_tokens=config.max_tokens,
        seed=recipe.seed,
        budget=resolved.micro_tokens,
    )
    policy = loaded.policy
    policy.kept_logits = resolved.kept_logits
    steps = Lessons(
        data.learned, per_step=config.examples_per_step, epochs=config.epochs, seed=recipe.seed
    ).steps
    trainer = PairTrainer(
        policy,
        Optimizer(policy, config.optim, steps),
        options=DpoOptions(
            beta=config.beta,
            label_smoothing=config.label_smoothing,
            length_normalise=config.length_normalise,
            sft_coef=config.sft_coef,
        ),
        budget=resolved.micro_tokens,
    )
    # the weights are those of the start here, also in a run that goes on: checkpoints come later
    learned, heldout = anchored(folder / REFERENCE, trainer, data.learned, data.heldout, console)
    if answers:
        measured.at("start", policy, console)
    lessons = Lessons(
        learned, per_step=config.examples_per_step, epochs=config.epochs, seed=recipe.seed
    )
    course = _course(
        node.name, run_folder, folder, config, lessons, heldout, trainer, loaded, console
    )
    course.begin(
        f"aha {node.name} · {recipe.name}",
        _lines(config, data.facts, resolved, loaded, run_folder.root),
    )
    with on_signal(stop, console):
        course.train(stop)
    if answers:
        measured.at("end", policy, console)
    final = folder / "checkpoints" / step_name(course.state.step)
    console.note(f"done. model: {final / 'hf'}")
    ends = course.ends("dpo", "loss", "accuracy") | (measured.ends() if answers else {})
    return {"step": course.state.step, "checkpoint": final.name, **ends}


def _course(
    name: str,
    run_folder: RunFolder,
    folder: Path,
    config: DpoConfig,
    lessons: Lessons[Anchored],
    heldout: Sequence[Anchored],
    trainer: PairTrainer,
    loaded: models.Loaded,
    console: Console,
) -> Course:
    def learn(step: int) -> StepResult:
        result = trainer.step(lessons.at(step), step)
        epoch = float(step * lessons.per_step // len(lessons.examples))
        return StepResult(metrics=result.metrics | {"data/epoch": epoch}, made=result.made)

    def measured(step: int) -> dict[str, float | None]:
        if not heldout:
            return {}
        found = trainer.measure(heldout)
        return {f"dpo/heldout/{key.removesuffix('/mean')}": value for key, value in found.items()}

    def export(path: Path, step: int) -> None:
        models.save(path, loaded)
        run_folder.describe(path, step=step)

    return Course(
        name=name,
        folder=folder,
        config=config,
        steps=lessons.steps,
        step=learn,
        heldout=measured,
        export=export,
        loss="dpo/loss",
        policy=trainer.policy,
        optimizer=trainer.optimizer,
        console=console,
        attempt=run_folder.attempt,
        event=run_folder.event,
    )


def _lines(
    config: DpoConfig, facts: dict[str, Any], resolved: Resolved, loaded: models.Loaded, root: Path
) -> list[str]:
    parameters = sum(p.numel() for p in loaded.policy.parameters())
    dropped = sum(facts["dropped"].values())
    return [
        f"model   {loaded.folder}, {parameters / 1e6:.1f}M parameters, {resolved.dtype}, "
        f"{resolved.threads} threads",
        f"data    {facts['learned']} pairs, {facts['heldout']} held out; left out: "
        f"{facts['too_long']} too long, {facts['refused']} refused, {facts['ties']} without a "
        f"preference, {facts['broken']} broken, {dropped} stored answers in no pair",
        f"step    {config.examples_per_step} pairs, {config.epochs:g} epochs; "
        f"micro-batches of {resolved.micro_tokens} tokens; beta {config.beta:g}",
        f"run     {root}",
    ]


# -- the reference ----------------------------------------------------------------------------------------


def anchored(
    path: Path,
    trainer: PairTrainer,
    learned: Sequence[PairExample],
    heldout: Sequence[PairExample],
    console: Console,
) -> tuple[list[Anchored], list[Anchored]]:
    """The pairs with the log-probabilities of the starting model, which `trainer` holds; from the file
    if it is there.

    Raises:
        RunError: the file is damaged, or of other pairs.
    """
    pairs = (*learned, *heldout)
    count = sum(len(side.token_ids) for one in pairs for side in one.sides)
    ids = [[side.prompt_ids, side.token_ids] for one in pairs for side in one.sides]
    digest = list(hashlib.sha256(json.dumps(ids).encode()).digest())
    if not path.exists():
        began = time.perf_counter()
        found = [*trainer.anchor(learned), *trainer.anchor(heldout)]
        values = [value for one in found for value in (*one.chosen, *one.rejected)]
        tensors = {
            "logprobs": torch.tensor(values, dtype=torch.float32),
            "pairs_sha256": torch.tensor(digest, dtype=torch.uint8),
        }
        files.write_bytes(path, save(tensors, metadata={"format": "pt"}))
        console.note(
            f"reference: {len(found)} pairs, {len(values):,} tokens in "
            f"{time.perf_counter() - began:.1f} s"
        )
    try:
        tensors = load_file(path)
        same = tensors["pairs_sha256"].tolist() == digest
        values = tensors["logprobs"].tolist()
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(f"{path} is damaged ({error}); delete it, it is computed again") from error
    if not same or len(values) != count:
        raise RunError(
            f"{path} belongs to other pairs: the data changed since this stage began. Put the data "
            f"back, or move {path.parent} away to start over"
        )
    made = []
    for one in pairs:
        middle = len(one.chosen.token_ids)
        end = middle + len(one.rejected.token_ids)
        made.append(
            Anchored(pair=one, chosen=tuple(values[:middle]), rejected=tuple(values[middle:end]))
        )
        values = values[end:]
    return made[: len(learned)], made[len(learned) :]


def resolve(
    recipe: Recipe, config: DpoConfig, folder: Path, model_folder: Path, name: str
) -> tuple[Resolved, int]:
    """Threads, dtype and budgets: measured at the first start, stored, and read ever after."""
    return resolution.planned(folder, lambda: plan_of(recipe, config, model_folder, name))


def plan_of(recipe: Recipe, config: DpoConfig, model_folder: Path, name: str) -> Plan:
    """As of supervised training on examples of two sides; the reference is no second model.

    Raises:
        DoesNotFit: not even one pair of `max_tokens` each fits the memory.
    """
    pair = SftConfig(train=config.train, max_tokens=2 * config.max_tokens)
    try:
        return plan.make_supervised(recipe, pair, model_folder)
    except DoesNotFit as error:
        raise DoesNotFit(keys_of(name, "sft", str(error))) from error

"""Training a reward model on preferences or labels. DeepSeek-R1, Methods (eq. 5, 6), supplement B.2.

    RUN/NAME/data.json             what became of every row
    RUN/NAME/resolved.json         threads, dtype, micro-batch: measured at the first start
    RUN/NAME/metrics.jsonl         loss and accuracy of each step; held out before, after and on the way
    RUN/NAME/checkpoints/step_N/   the model (hf/) and everything to go on from (state/)
    RUN/NAME/eval.json             accuracy and calibration on what is held out, and what length scores
    RUN/NAME/model/                the reward model, for `RewardModel.load` and transformers

A killed run goes on from its newest whole checkpoint to the same bytes.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from aha import files
from aha.config import DataConfig, ModelConfig, RewardTrainConfig
from aha.errors import ConfigError, DoesNotFit
from aha.evals.preference import ScoredLabel, ScoredPair, of_labels, of_pairs
from aha.models.load import DTYPES, SMALL, count_parameters, describe, resolve_device, resolve_dtype
from aha.models.reward_model import RewardModel
from aha.report.console import Console
from aha.stages import resolution
from aha.stages.course import Course
from aha.stages.reward_data import examples_of, load_data
from aha.stages.run_folder import check_disk
from aha.stages.stop import Stop
from aha.train import plan
from aha.train.checkpoint import seed_all
from aha.train.optim import Optimizer
from aha.train.plan import Resolved
from aha.train.preference import (
    Example,
    LabelExample,
    PairExample,
    ScoreTrainer,
    score,
    summary,
)
from aha.train.step import StepResult
from aha.train.supervised import Lessons

DATA, EVAL, MODEL = "data.json", "eval.json", "model"

Event = Callable[..., None]


def _no_event(kind: str, **facts: Any) -> None:
    pass


def run(
    config: RewardTrainConfig,
    *,
    name: str,
    seed: int,
    model: ModelConfig,
    data: DataConfig,
    model_folder: Path,
    folder: Path,
    console: Console,
    stop: Stop,
    threads: int = 0,
    memory_gb: float = 0.0,
    attempt: int = 1,
    event: Event = _no_event,
    card: Callable[..., None] = lambda model, step: None,
) -> dict[str, Any]:
    """Train; returns the facts for DONE. Goes on from the newest whole checkpoint if there is one.

    Args:
        name: of the stage, for messages.
        model: dtype, device and gradient checkpointing; its path is not read.
        data: think_tag, max_bad_share; its sources are not read.
        model_folder: a language model, which gets a new head drawn with `seed`, or a reward model,
            which is trained on.
        folder: the stage's own; exists.
        card: writes lineage and model card beside weights: card(model folder, step=...).
        threads, memory_gb: as in a recipe; used at the first start and stored.

    Raises:
        ConfigError: adapters, or a centre for labels.
        DataError: no example can be used.
        ModelError, RunError, DoesNotFit: see there.
        Stopped: the user asked for it; a checkpoint was written first.
    """
    if model.lora_rank:
        raise ConfigError(f"{name}: a reward model is trained whole; set model.lora_rank to 0")
    if config.center and config.form == "labels":
        raise ConfigError(
            f"{name}.center is for pairs, whose loss leaves the level of the scores open; labels fix "
            "it. Set it to 0"
        )
    rows = load_data(config, data, seed)
    resolved, size = resolve(config, model, folder, model_folder, threads, memory_gb, name)
    check_disk(folder, size)
    torch.set_num_threads(resolved.threads)
    seed_all(seed)
    scorer = open_model(model_folder, model, resolved.dtype, seed, data.think_tag)
    examples = examples_of(config, scorer, rows, name)
    files.write_json(folder / DATA, examples.facts)
    lessons = Lessons(
        cast("Sequence[Any]", examples.learned),
        per_step=config.examples_per_step,
        epochs=config.epochs,
        seed=seed,
    )
    optimizer = Optimizer(scorer.model, config.optim, lessons.steps)
    trainer = ScoreTrainer(scorer, optimizer, budget=resolved.micro_tokens, center=config.center)
    held = _Heldout(examples.heldout, trainer)

    def learn(step: int) -> StepResult:
        result = trainer.step(lessons.at(step), step)
        epoch = float(step * lessons.per_step // len(lessons.examples))
        return StepResult(metrics=result.metrics | {"data/epoch": epoch}, made=result.made)

    def export(path: Path, step: int) -> None:
        scorer.save(path)
        card(path, step=step)

    course = Course(
        name=name,
        folder=folder,
        config=config,
        steps=lessons.steps,
        step=learn,
        heldout=held.metrics,
        export=export,
        loss="rm/loss",
        policy=scorer.model,
        optimizer=optimizer,
        console=console,
        attempt=attempt,
        event=event,
    )
    course.begin(
        f"aha reward model · {name}",
        _lines(config, examples.facts, resolved, model_folder, folder, scorer),
    )
    course.train(stop)
    report = evaluate(held.examples, held.scores(course.state.step))
    files.write_json(folder / EVAL, report)  # it and the model are written again if they were there
    with files.new_folder(folder / MODEL) as aside:
        export(aside, course.state.step)
    for line in said(report):
        console.note(line)
    console.note(f"done. model: {folder / MODEL}")
    return {"step": course.state.step, "model": MODEL, **course.ends("rm", "loss", "accuracy")}


@dataclasses.dataclass
class _Heldout:
    """What is held out, scored once for a step."""

    examples: Sequence[Example]
    trainer: ScoreTrainer
    known: tuple[int, list[tuple[float, ...]]] | None = None

    def scores(self, step: int) -> list[tuple[float, ...]]:
        if self.known is None or self.known[0] != step:
            found = score(self.trainer.model, self.examples, budget=self.trainer.budget)
            self.known = step, found
        return self.known[1]

    def metrics(self, step: int) -> dict[str, float | None]:
        if not self.examples:
            return {}
        found = summary(self.examples, self.scores(step))
        return {"rm/heldout/loss": found["loss"], "rm/heldout/accuracy": found["accuracy"]}


def _lines(
    config: RewardTrainConfig,
    facts: dict[str, Any],
    resolved: Resolved,
    start: Path,
    folder: Path,
    scorer: RewardModel,
) -> list[str]:
    form = config.form
    balance = f", {facts['safe']['learned']} of them safe" if form == "labels" else ""
    without = "preference" if form == "pairs" else "label"
    parameters = sum(p.numel() for p in scorer.model.parameters())
    return [
        f"model   {start}, {parameters / 1e6:.1f}M parameters, {resolved.dtype}, "
        f"{resolved.threads} threads",
        f"data    {facts['learned']} {form}{balance}, {facts['heldout']} held out; left out: "
        f"{facts['too_long']} too long, {facts['no_summary']} without a summary, "
        f"{facts['ties']} without a {without}, {facts['broken']} broken",
        f"step    {config.examples_per_step} {form}, {config.epochs:g} "
        f"epochs; micro-batches of {resolved.micro_tokens} tokens",
        f"folder  {folder}",
    ]


# -- the model --------------------------------------------------------------------------------------------


def open_model(
    folder: Path, model: ModelConfig, dtype: str, seed: int, think_tag: str
) -> RewardModel:
    """A reward model to train: a new head on a language model, or one that was trained before.

    Raises:
        ModelError, ConfigError: see models/reward_model.py.
    """
    named = " ".join(describe(folder).architectures or ())
    if "ForSequenceClassification" in named:
        made = RewardModel.load(folder, device=model.device, dtype=dtype, think_tag=think_tag)
    else:
        made = RewardModel.from_base(
            folder, device=model.device, dtype=dtype, seed=seed, think_tag=think_tag
        )
    if model.gradient_checkpointing:
        for key in ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop"):
            if getattr(made.model.config, key, 0):
                setattr(made.model.config, key, 0.0)
        for module in made.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = 0.0
        made.model.gradient_checkpointing_enable({"use_reentrant": False})
        made.model.train()  # without this transformers does not checkpoint; every dropout is 0
    return made


def resolve(
    config: RewardTrainConfig,
    model: ModelConfig,
    folder: Path,
    model_folder: Path,
    threads: int,
    memory_gb: float,
    name: str,
) -> tuple[Resolved, int]:
    """Threads, dtype and micro-batch, and bytes of a checkpoint: stored at the first start.

    Raises:
        DoesNotFit: see `planned`.
    """
    return resolution.planned(
        folder, lambda: planned(config, model, describe(model_folder), threads, memory_gb, name)
    )


def planned(
    config: RewardTrainConfig,
    model: ModelConfig,
    described: Any,
    threads: int,
    memory_gb: float,
    name: str,
) -> plan.Plan:
    """What the stage needs; `described` is the transformers configuration that it starts from.

    Raises:
        DoesNotFit: not even one pair of `max_tokens` each fits the memory.
    """
    text = described.get_text_config()
    parameters = count_parameters(described)
    dtype = resolve_dtype(model.dtype, described, model.device)
    size = DTYPES[dtype].itemsize
    where = resolve_device(model.device)
    memory = int(memory_gb * 1e9) if memory_gb else plan.available_memory(where.type)
    parts = {
        "weights": parameters * size,
        "optimizer": parameters * (16 if size == 2 else 12),
        "program": plan.PROGRAM_BYTES,
    }
    always = sum(parts.values())
    token = plan.activation_bytes(
        text, size, checkpointing=model.gradient_checkpointing, fused=False
    )
    unit = config.max_tokens * (2 if config.form == "pairs" else 1)
    left = int(memory * plan.HEADROOM) - always
    if left < unit * token:
        raise DoesNotFit(
            f"does not fit: weights and optimizer {always / 1e9:.2f} GB, and one of the {config.form} "
            f"{unit * token / 1e9:.2f} GB; {memory * plan.HEADROOM / 1e9:.2f} GB may be used. Try "
            f"{name}.max_tokens lower, or model.gradient_checkpointing=true"
        )
    most = plan.SMALL_MICRO_TOKENS if parameters < SMALL else plan.MICRO_TOKENS[1]
    resolved = Resolved(
        threads=threads or os.cpu_count() or 1,
        dtype=dtype,
        memory_bytes=memory,
        kv_bytes=0,
        max_rows=0,
        micro_tokens=min(max(most, unit), left // token),
    )
    return plan.Plan(
        parameters=parameters,
        parts=parts | {"activations": resolved.micro_tokens * token},
        resolved=resolved,
        rollout_tokens=0,
        checkpoint_bytes=parameters * (size + 12),
    )


# -- the evaluation ---------------------------------------------------------------------------------------


def evaluate(heldout: Sequence[Example], scores: Sequence[tuple[float, ...]]) -> dict[str, Any]:
    """eval.json: the report of evals/preference.py on what is held out; {} if nothing is."""
    if not heldout:
        return {}
    if isinstance(heldout[0], PairExample):
        pairs = [
            ScoredPair(
                chosen=values[0],
                rejected=values[1],
                chosen_tokens=one.chosen_tokens,
                rejected_tokens=one.rejected_tokens,
                root=one.root,
                domain=one.domain,
            )
            for one, values in zip(heldout, scores, strict=True)
            if isinstance(one, PairExample)
        ]
        return {"form": "pairs", **of_pairs(pairs).as_dict()}
    labels = [
        ScoredLabel(
            score=values[0],
            safe=one.safe,
            tokens=one.answer_tokens,
            root=one.root,
            domain=one.domain,
        )
        for one, values in zip(heldout, scores, strict=True)
        if isinstance(one, LabelExample)
    ]
    return {"form": "labels", **of_labels(labels).as_dict()}


def said(report: dict[str, Any]) -> list[str]:
    """The evaluation in a few plain lines."""
    if not report:
        return ["nothing is held out, so nothing is known about unseen answers"]

    def interval(one: dict[str, float] | None) -> str:
        if one is None:
            return "-"
        return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"

    if report["form"] == "pairs":
        return [
            f"held out: {interval(report['accuracy'])} of {report['pairs']} pairs right; length alone "
            f"(the longer one): {interval(report['longer_chosen'])}",
            f"where the shorter one was chosen: {interval(report['where_shorter_chosen'])}; the model "
            f"prefers the longer one in {report['longer_preferred']:.3f} of pairs",
            f"calibration error {report['calibration']['error']:.3f}; scores {report['score_mean']:.2f} "
            f"± {report['score_std']:.2f}",
        ]
    word = "safe" if report["safe_share"] == report["majority"] else "not safe"
    return [
        f"held out: {interval(report['accuracy'])} of {report['labels']} labels right; always "
        f'"{word}": {interval(report["majority"])}; AUC {interval(report["auc"])}',
        f"right where safe {interval(report['where_safe'])}, where not {interval(report['where_unsafe'])}",
        f"calibration error {report['calibration']['error']:.3f}; scores {report['score_mean']:.2f} "
        f"± {report['score_std']:.2f}",
    ]

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
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from aha import files
from aha.config import DataConfig, ModelConfig, RewardTrainConfig
from aha.errors import ConfigError, DoesNotFit, RunError, Stopped
from aha.evals.preference import ScoredLabel, ScoredPair, of_labels, of_pairs
from aha.models.load import DTYPES, SMALL, count_parameters, describe, resolve_device, resolve_dtype
from aha.models.reward_model import RewardModel
from aha.report.console import Console
from aha.report.metrics import MetricsFile
from aha.stages.reward_data import examples_of, load_data
from aha.stages.run_folder import check_disk
from aha.stages.stop import Stop
from aha.train import checkpoint, plan
from aha.train.checkpoint import State, seed_all
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
from aha.train.run import SKIPS
from aha.train.supervised import Lessons

RESOLVED, DATA, EVAL, MODEL = "resolved.json", "data.json", "eval.json", "model"

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
) -> dict[str, Any]:
    """Train; returns the facts for DONE. Goes on from the newest whole checkpoint if there is one.

    Args:
        name: of the stage, for messages.
        model: dtype, device and gradient checkpointing; its path is not read.
        data: think_tag, max_bad_share; its sources are not read.
        model_folder: a language model, which gets a new head drawn with `seed`, or a reward model,
            which is trained on.
        folder: the stage's own; exists.
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
    training = _Training(
        name, folder, config, lessons, examples.heldout, trainer, console, attempt, event
    )
    training.begin(model_folder, examples.facts, resolved)
    training.train(stop)
    ends = training.finish()
    console.note(f"done. model: {folder / MODEL}")
    return {"step": training.state.step, "model": MODEL, **ends}


@dataclasses.dataclass
class _Training:
    """A reward model under way."""

    name: str
    folder: Path
    config: RewardTrainConfig
    lessons: Lessons[Any]
    heldout: Sequence[Example]
    trainer: ScoreTrainer
    console: Console
    attempt: int
    event: Event
    state: State = dataclasses.field(default_factory=State)
    scored: tuple[int, list[tuple[float, ...]]] | None = None
    """Scores of what is held out, and the step at which they were measured."""

    def begin(self, start: Path, facts: dict[str, Any], resolved: Resolved) -> None:
        """The newest whole checkpoint, and the first lines of the console."""
        checkpoints = self.folder / "checkpoints"
        files.clean(checkpoints)
        found = checkpoint.newest(checkpoints, warn=self.console.alert)
        if found is None and any(checkpoints.glob("step_*")):
            raise RunError(
                f"no checkpoint in {checkpoints} is whole. Put a copy of one back, or move "
                f"{self.folder} away to start over"
            )
        if found is not None:
            self.state = checkpoint.load(found, optimizer=self.trainer.optimizer, reference=None)
            self.console.note(f"resuming from {found.name} (attempt {self.attempt})")
        self.metrics = MetricsFile(self.folder / "metrics.jsonl")
        self.metrics.truncate_after(self.state.step if found is not None else -1)
        self.resumed = found is not None
        self.event("start", stage=self.name, step=self.state.step, checkpoint=str(found))
        parameters = sum(p.numel() for p in self.trainer.model.model.parameters())
        self.console.start(
            f"aha reward model · {self.name}",
            [
                f"model   {start}, {parameters / 1e6:.1f}M parameters, {resolved.dtype}, "
                f"{resolved.threads} threads",
                f"data    {facts['learned']} {self.config.form}, {facts['heldout']} held out; left out: "
                f"{facts['too_long']} too long, {facts['no_summary']} without a summary, "
                f"{facts['ties']} without a preference, {facts['broken']} broken",
                f"step    {self.config.examples_per_step} {self.config.form}, {self.config.epochs:g} "
                f"epochs; micro-batches of {resolved.micro_tokens} tokens",
                f"folder  {self.folder}",
            ],
            steps=self.lessons.steps,
        )

    def train(self, stop: Stop) -> None:
        state, config, total = self.state, self.config, self.lessons.steps
        if not self.resumed:
            began = time.perf_counter()
            self._write(0, self._heldout(), began)
            self._save()
        while state.step < total:
            began = time.perf_counter()
            examples = self.lessons.at(state.step)
            result = self.trainer.step(examples, state.step)
            values: dict[str, float | None] = dict(result.metrics)
            values["data/epoch"] = float(
                state.step * self.lessons.per_step // len(self.lessons.examples)
            )
            state.step += 1
            self._watch(result.made)
            values["optim/skipped/sum"] = float(not result.made)
            seconds = time.perf_counter() - began
            values["time/update_s"] = seconds
            values["rate/update_tokens_per_s"] = result.metrics["optim/tokens/sum"] / seconds
            last = state.step == total
            if last or (config.eval_every and state.step % config.eval_every == 0):
                values |= self._heldout()
            self._write(state.step, values, began)
            if last or stop.asked or state.step % config.checkpoint_every == 0:
                self._save()
            if stop.asked and not last:
                raise Stopped(
                    f"stopped after step {state.step}; everything is saved. Go on with: "
                    f"aha resume {self.folder.parent}"
                )

    def finish(self) -> dict[str, float]:
        """The evaluation and the model folder; both are written again if they were there."""
        report = evaluate(self.heldout, self._scores())
        rows = [row for row in self.metrics.rows() if row.get("rm/heldout/loss") is not None]
        ends: dict[str, float] = {}
        if rows:
            for key in ("loss", "accuracy"):
                ends[f"heldout_{key}_before"] = rows[0][f"rm/heldout/{key}"]
                ends[f"heldout_{key}"] = rows[-1][f"rm/heldout/{key}"]
        files.write_json(self.folder / EVAL, report)
        with files.new_folder(self.folder / MODEL) as aside:
            self.trainer.model.save(aside)
        for line in said(report):
            self.console.note(line)
        return ends

    def _watch(self, made: bool) -> None:
        self.state.skipped_in_row = 0 if made else self.state.skipped_in_row + 1
        if self.state.skipped_in_row >= SKIPS:
            raise RunError(
                f"{SKIPS} updates in a row were not finite (last: step {self.state.step}). The weights "
                f"are those of the last good step; lower {self.name}.optim.lr, or use "
                "model.dtype='float32'"
            )

    def _heldout(self) -> dict[str, float | None]:
        if not self.heldout:
            return {}
        found = summary(self.heldout, self._scores())
        return {
            "rm/heldout/loss": found["loss"],
            "rm/heldout/accuracy": found["accuracy"],
        }

    def _scores(self) -> list[tuple[float, ...]]:
        if self.scored is None or self.scored[0] != self.state.step:
            found = score(self.trainer.model, self.heldout, budget=self.trainer.budget)
            self.scored = self.state.step, found
        return self.scored[1]

    def _write(self, step: int, values: dict[str, float | None], began: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        values = values | {
            "memory/peak_gb": peak * (1 if sys.platform == "darwin" else 1024) / 1e9,
            "time/step_s": time.perf_counter() - began,
        }
        row = self.metrics.append(step, values, attempt=self.attempt)
        if "rm/loss" in values:
            self.console.step(row)

    def _save(self) -> None:
        checkpoints = self.folder / "checkpoints"
        checkpoint.save(
            checkpoints,
            policy=self.trainer.model.model,
            save_model=self.trainer.model.save,
            optimizer=self.trainer.optimizer,
            reference=None,
            state=self.state,
        )
        checkpoint.prune(
            checkpoints, keep_last=self.config.keep_last, best_step=-1, step=self.state.step
        )
        self.event("checkpoint", stage=self.name, step=self.state.step)


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
        DoesNotFit: not even one pair of `max_tokens` each fits the memory.
    """
    stored = folder / RESOLVED
    if stored.exists():
        saved = json.loads(stored.read_text("utf-8"))
        return Resolved(**saved["resolved"]), saved["checkpoint_bytes"]
    described = describe(model_folder)
    text = described.get_text_config()
    parameters = count_parameters(described)
    dtype = resolve_dtype(model.dtype, described, model.device)
    size = DTYPES[dtype].itemsize
    where = resolve_device(model.device)
    memory = int(memory_gb * 1e9) if memory_gb else plan.available_memory(where.type)
    always = parameters * (size + (16 if size == 2 else 12)) + plan.PROGRAM_BYTES
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
    checkpoint_bytes = parameters * (size + 12)
    facts = {"resolved": dataclasses.asdict(resolved), "checkpoint_bytes": checkpoint_bytes}
    files.write_json(stored, facts)
    return resolved, checkpoint_bytes


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
    return [
        f'held out: {interval(report["accuracy"])} of {report["labels"]} labels right; always "safe": '
        f"{interval(report['safe_share'])}; AUC {interval(report['auc'])}",
        f"calibration error {report['calibration']['error']:.3f}; scores {report['score_mean']:.2f} "
        f"± {report['score_std']:.2f}",
    ]

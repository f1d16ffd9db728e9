"""Supervised training on dialogues. DeepSeek-R1 §2.3.1 (cold start), §2.3.3, §2.4 (distillation).

    RUN/sft/data.json            what became of every row
    RUN/sft/metrics.jsonl        loss of each step; held-out loss before, after and on the way
    RUN/sft/checkpoints/step_N/  the model (hf/) and everything to go on from (state/)

A killed run goes on from its newest whole checkpoint to the same bytes. What is learned, token by token,
`train/supervised.py` says; `aha data inspect` shows it.
"""

import dataclasses
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from aha import files
from aha.config import Recipe, SftConfig
from aha.data import dialogues, templates
from aha.data.dialogues import Dialogue
from aha.data.order import permutation
from aha.data.templates import Template
from aha.errors import DataError, RunError, Stopped
from aha.models import load as models
from aha.models.adapters import merged
from aha.models.locate import locate
from aha.report.console import Console
from aha.report.metrics import MetricsFile
from aha.stages.dag import Node
from aha.stages.run_folder import RunFolder, check_disk
from aha.stages.stop import Stop, on_signal
from aha.train import checkpoint, plan
from aha.train.checkpoint import State, seed_all, step_name
from aha.train.optim import Optimizer
from aha.train.plan import Resolved
from aha.train.run import SKIPS
from aha.train.step import LossOptions, Trainer
from aha.train.supervised import Example, Lessons, learn, loss

RESOLVED = "resolved.json"
DATA = "data.json"
MOST_HELDOUT = 200


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Train; returns the facts for DONE. Goes on from the newest whole checkpoint if there is one.

    Raises:
        DataError: no dialogue can be used.
        ModelError, RunError, DoesNotFit: see there.
        Stopped: the user asked for it; a checkpoint was written first.
    """
    config = recipe.sft
    assert config is not None
    folder, stop = run_folder.begin(node), Stop()
    learned, heldout, bad = load_data(recipe, config)
    model_folder = locate(recipe.model.path)
    resolved, size = resolve(recipe, config, folder, model_folder)
    check_disk(run_folder.root, size)
    torch.set_num_threads(resolved.threads)
    seed_all(recipe.seed)
    loaded = models.load(model_folder, recipe.model, dtype=resolved.dtype)
    template = templates.load_template(recipe.data, loaded.tokenizer, generation_eos=loaded.eos_ids)
    data = _examples(config, template, learned, heldout, bad)
    files.write_json(folder / DATA, data.facts)
    lessons = Lessons(
        data.learned, per_step=config.examples_per_step, epochs=config.epochs, seed=recipe.seed
    )
    policy = loaded.policy
    policy.kept_logits = resolved.kept_logits
    optimizer = Optimizer(policy, config.optim, lessons.steps)
    trainer = Trainer(policy, optimizer, options=LossOptions(), budget=resolved.micro_tokens)
    training = _Training(
        run_folder, folder, config, lessons, data.heldout, trainer, loaded, console
    )
    training.begin(recipe.name, data.facts, resolved)
    with on_signal(stop, console):
        training.train(stop)
    final = folder / "checkpoints" / step_name(training.state.step)
    console.note(f"done. model: {final / 'hf'}")
    return {"step": training.state.step, "checkpoint": final.name, **training.ends}


@dataclasses.dataclass
class _Training:
    """A supervised stage under way."""

    run_folder: RunFolder
    folder: Path
    config: SftConfig
    lessons: Lessons[Example]
    heldout: Sequence[Example]
    trainer: Trainer
    loaded: models.Loaded
    console: Console
    state: State = dataclasses.field(default_factory=State)
    ends: dict[str, float] = dataclasses.field(default_factory=dict)
    """Held-out loss before and after."""

    def begin(self, name: str, facts: dict[str, Any], resolved: Resolved) -> None:
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
            self.console.note(f"resuming from {found.name} (attempt {self.run_folder.attempt})")
        self.metrics = MetricsFile(self.folder / "metrics.jsonl")
        self.metrics.truncate_after(self.state.step if found is not None else -1)
        self.resumed = found is not None
        self.run_folder.event(
            "start", stage=self.folder.name, step=self.state.step, checkpoint=str(found)
        )
        parameters = sum(p.numel() for p in self.trainer.policy.parameters())
        self.console.start(
            f"aha {self.folder.name} · {name}",
            [
                f"model   {self.loaded.folder}, {parameters / 1e6:.1f}M parameters, {resolved.dtype}, "
                f"{resolved.threads} threads",
                f"data    {facts['learned']} examples, {facts['tokens']:,} tokens to learn; "
                f"{facts['heldout']} held out; left out: {facts['too_long']} too long, "
                f"{facts['refused']} refused, {facts['broken']} broken",
                f"step    {self.config.examples_per_step} examples, {self.config.epochs:g} epochs; "
                f"micro-batches of {resolved.micro_tokens} tokens",
                f"run     {self.run_folder.root}",
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
            result = learn(self.trainer, self.lessons, state.step)
            state.step += 1
            self._watch(result.made)
            values: dict[str, float | None] = dict(result.metrics)
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
                    f"aha resume {self.run_folder.root}"
                )
        rows = [row for row in self.metrics.rows() if row.get("sft/heldout/loss") is not None]
        if rows:
            self.ends = {
                "heldout_loss_before": rows[0]["sft/heldout/loss"],
                "heldout_loss": rows[-1]["sft/heldout/loss"],
            }

    def _watch(self, made: bool) -> None:
        self.state.skipped_in_row = 0 if made else self.state.skipped_in_row + 1
        if self.state.skipped_in_row >= SKIPS:
            raise RunError(
                f"{SKIPS} updates in a row were not finite (last: step {self.state.step}). The weights are "
                "those of the last good step; lower sft.optim.lr, or use model.dtype='float32'"
            )

    def _heldout(self) -> dict[str, float | None]:
        if not self.heldout:
            return {}
        with merged(self.trainer.policy):
            return {"sft/heldout/loss": loss(self.trainer, self.heldout)["all"]}

    def _write(self, step: int, values: dict[str, float | None], began: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        values = values | {
            "memory/peak_gb": peak * (1 if sys.platform == "darwin" else 1024) / 1e9,
            "time/step_s": time.perf_counter() - began,
        }
        row = self.metrics.append(step, values, attempt=self.run_folder.attempt)
        if "sft/loss" in values:
            self.console.step(row)

    def _save(self) -> None:
        checkpoints = self.folder / "checkpoints"
        checkpoint.save(
            checkpoints,
            policy=self.trainer.policy,
            save_model=lambda path: models.save(path, self.loaded),
            optimizer=self.trainer.optimizer,
            reference=None,
            state=self.state,
        )
        checkpoint.prune(
            checkpoints, keep_last=self.config.keep_last, best_step=-1, step=self.state.step
        )
        self.run_folder.event("checkpoint", stage=self.folder.name, step=self.state.step)


# -- the data ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Data:
    learned: list[Example]
    heldout: list[Example]
    facts: dict[str, Any]


def load_data(recipe: Recipe, config: SftConfig) -> tuple[list[Dialogue], list[Dialogue], int]:
    """Dialogues to learn, held-out ones, and how many rows were broken.

    Raises:
        ConfigError, DataError: see data/dialogues.py.
    """
    train, broken = _all_of(recipe, config.train, "train")
    if config.heldout:
        heldout, more = _all_of(recipe, config.heldout, "heldout")
        asked = {dialogue.messages[:-1] for dialogue in heldout}
        kept = [dialogue for dialogue in train if dialogue.messages[:-1] not in asked]
        return kept, heldout[:MOST_HELDOUT], broken + more
    aside = min(MOST_HELDOUT, int(len(train) * config.heldout_share))
    order = permutation(len(train), f"heldout {recipe.seed}", 0)
    out = set(order[:aside])
    return (
        [one for i, one in enumerate(train) if i not in out],
        [one for i, one in enumerate(train) if i in out],
        broken,
    )


def _all_of(recipe: Recipe, sources: str | list[str], split: str) -> tuple[list[Dialogue], int]:
    found: list[Dialogue] = []
    broken = 0
    for source in [sources] if isinstance(sources, str) else sources:
        loaded = dialogues.load(source, split=split, config=recipe.data)
        found += loaded.dialogues
        broken += len(loaded.bad)
    return found, broken


def _examples(
    config: SftConfig,
    template: Template,
    learned: Sequence[Dialogue],
    heldout: Sequence[Dialogue],
    broken: int,
) -> Data:
    """Dialogues as tokens; those that are too long or refused are counted, never cut."""
    why: list[str] = []
    long = 0

    def made(some: Sequence[Dialogue]) -> list[Example]:
        nonlocal long
        examples = []
        for dialogue in some:
            places = dialogue.turns if config.turns == "all" else dialogue.turns[-1:]
            for place in places:
                turns, (_, response) = dialogue.messages[:place], dialogue.messages[place]
                try:
                    prompt, answer = templates.example(template, turns, response, name=dialogue.id)
                except DataError as error:
                    why.append(str(error))
                    continue
                if len(prompt) + len(answer) > config.max_tokens:
                    long += 1
                    continue
                name = dialogue.id if len(places) == 1 else f"{dialogue.id}/{place}"
                examples.append(
                    Example(
                        id=name,
                        prompt_ids=tuple(prompt),
                        token_ids=tuple(answer),
                        domain=dialogue.domain,
                    )
                )
        return examples

    train, held = made(learned), made(heldout)
    if not train:
        raise DataError(
            f"none of {len(learned)} dialogues can be learned: {long} are longer than "
            f"sft.max_tokens={config.max_tokens}; refused: {'; '.join(why[:3]) or 'none'}"
        )
    facts = {
        "learned": len(train),
        "heldout": len(held),
        "tokens": sum(len(example.token_ids) for example in train),
        "prompt_tokens": sum(len(example.prompt_ids) for example in train),
        "too_long": long,
        "refused": len(why),
        "refused_first": why[:5],
        "broken": broken,
    }
    return Data(train, held, facts)


def resolve(
    recipe: Recipe, config: SftConfig, folder: Path, model_folder: Path
) -> tuple[Resolved, int]:
    """Threads, dtype and budgets: measured at the first start, stored, and read ever after."""
    stored = folder / RESOLVED
    if stored.exists():
        saved = json.loads(stored.read_text("utf-8"))
        return Resolved(**saved["resolved"]), saved["checkpoint_bytes"]
    made = plan.make_supervised(recipe, config, model_folder)
    facts = {
        "resolved": dataclasses.asdict(made.resolved),
        "checkpoint_bytes": made.checkpoint_bytes,
    }
    files.write_json(stored, facts)
    return made.resolved, made.checkpoint_bytes

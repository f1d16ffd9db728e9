"""A running RL stage: everything `train/loop.py` asks for by name.

Holds:     the phase, the record of a step, the watch over it, checkpoints.
Holds not: the order of things (loop.py), assembly from a recipe (stages/zero.py).
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from aha import files
from aha.config import ZeroConfig
from aha.data.areas import area
from aha.data.order import Order
from aha.errors import RunError
from aha.models.adapters import merged
from aha.records import Group, Rendered
from aha.report import step_metrics, suspects
from aha.report.alerts import Alert, Alerts
from aha.report.console import Console
from aha.report.metrics import MetricsFile
from aha.report.suspects import Suspects
from aha.rewards.workers import GraderPool
from aha.rollout.collect import Score, collect
from aha.rollout.engine import SamplingParams
from aha.rollout.local.engine import LocalEngine
from aha.train import checkpoint, plateau
from aha.train.checkpoint import State
from aha.train.credit import flat, to_samples
from aha.train.reference import Reference
from aha.train.step import StepResult, Trainer

SKIPS = 3
"""Non-finite updates in a row that stop the run."""


class Stopping(Protocol):
    asked: bool


@dataclass(slots=True)
class _Row:
    """What one step will write."""

    step: int
    values: dict[str, float | None]
    shown: dict[str, Any] | None = None
    suspects: Suspects | None = None


@dataclass
class Run:
    root: Path
    """The run's folder."""
    folder: Path
    """The stage's folder in it."""
    config: ZeroConfig
    state: State
    attempt: int
    engine: LocalEngine
    graders: GraderPool
    score: Score
    trainer: Trainer
    reference: Reference | None
    questions: Sequence[Rendered]
    order: Order
    params: SamplingParams
    heldout: Callable[[int], dict[str, float]]
    """Held-out evaluation of the present weights at a step -> heldout/ metrics."""
    save_model: Callable[[Path], None]
    metrics: MetricsFile
    console: Console
    alerts: Alerts
    event: Callable[..., None]
    """Writes a line of events.jsonl: event(kind, **facts)."""
    tags: tuple[str, str]
    """Names of the think and answer tags."""
    resumed: bool
    """Does it go on from a checkpoint?"""
    stop: Stopping
    """Says whether the user asked to stop."""
    early_score: Score | None = None
    """Scores before preference rewards count (`preference_share`); None: they always do."""
    lint: Sequence[str] = ()
    """What may go wrong with the template."""
    _rows: list["_Row"] = field(default_factory=list)
    _times: dict[str, float] = field(default_factory=dict)
    _phase: dict[str, float] = field(default_factory=dict)
    _improved: bool = False
    _paying: bool = True
    """Did preference rewards count in this phase?"""
    _last: float = field(default_factory=time.perf_counter)

    @cached_property
    def several_areas(self) -> bool:
        """Do the questions come from more than one area? Then each has its own metrics."""
        return len({area(question.prompt) for question in self.questions}) > 1

    @cached_property
    def rightness(self) -> bool:
        """Has any question a right answer? Else reward is all there is to go by."""
        return any(question.prompt.kind != "open" for question in self.questions)

    @property
    def over(self) -> bool:
        """Is this the last step, or has a plateau ended the stage?"""
        return self.state.step >= self.config.steps or bool(self.state.ended)

    # -- the verbs of the loop ----------------------------------------------------------------------

    def rollout_phase(self) -> list[Group]:
        """Answers to the next questions, judged; flat groups replaced if dynamic sampling is on.

        Raises:
            RunError: the share of answers our graders failed on is above `max_grader_failures`.
        """
        config, state = self.config, self.state
        self._paying = state.step >= config.preference_from
        size = config.prompts_per_step * config.minibatches
        asked, state.cursor = self.order.take(size, state.cursor)
        with merged(self.trainer.policy):  # once: captured graphs hold the merged weights
            groups = self._collect(asked, 0)
            judged, refilled = list(groups), 0
            for attempt in range(1, config.dynamic_sampling + 1):
                poor = [i for i, group in enumerate(groups) if flat(group)]
                if not poor:
                    break
                fresh, state.cursor = self.order.take(len(poor), state.cursor, avoid=asked)
                asked += fresh
                for place, group in zip(poor, self._collect(fresh, attempt), strict=True):
                    groups[place] = group
                    judged.append(group)
                refilled += len(poor)
        self.engine.rest()  # the update needs the memory
        self._phase = {"group/refilled/sum": float(refilled)}
        self._check_graders(judged)
        state.phase += 1
        return groups

    def record(self, result: StepResult, groups: Sequence[Group]) -> None:
        """Keep the numbers and the answers of one optimizer step."""
        step, config = self.state.step, self.config
        samples = [sample for group in groups for sample in to_samples(group, config)]
        values: dict[str, float | None] = dict(
            step_metrics.of_groups(groups, samples, think_tag=self.tags[0], answer_tag=self.tags[1])
        )
        if self.several_areas:
            values |= step_metrics.by_area(groups)
        if config.preferences:
            values |= step_metrics.opinions(groups, config.preferences)
            values["preference/weight"] = float(self._paying)
        self._remember(groups, values["reward/mean"])
        found = suspects.find(groups, *self.tags)
        values |= suspects.as_metrics(found)
        values |= result.metrics
        values |= self._phase
        values["optim/skipped/sum"] = float(not result.made)
        values["grade/killed/sum"] = float(self.graders.killed)
        values["reference/age_steps"] = float(step - self.state.reference_step)
        values["policy/version"] = float(self.engine.version)
        epoch, cursor = divmod(self.state.cursor, self.order.n)
        values["data/epoch"], values["data/cursor"] = float(epoch), float(cursor)
        self._phase = {"group/refilled/sum": 0.0}
        self._write_rollouts(step, samples, groups)
        self._rows.append(_Row(step, values, step_metrics.shown(groups, step, self.tags), found))

    def watch(self, result: StepResult, groups: Sequence[Group]) -> None:
        """Stop when updates are not finite three times in a row, or engine and trainer disagree.

        Raises:
            RunError: says which, where the batch was dumped, and what to change.
        """
        state = self.state
        state.skipped_in_row = 0 if result.made else state.skipped_in_row + 1
        if not result.made:
            dump = self.folder / "bad_batches" / f"step_{state.step:06d}.jsonl"
            files.write_jsonl(dump, step_metrics.replayable_rows(groups))
            ids = ", ".join(group.rendered.prompt.id for group in groups[:3])
            self.event("skipped_step", step=state.step, dump=str(dump), prompts=ids)
            self.console.alert(
                f"step {state.step}: loss or gradient is not finite; the update was skipped and its "
                f"batch written to {dump}"
            )
            if state.skipped_in_row >= SKIPS:
                self.write_metrics()
                raise RunError(
                    f"{SKIPS} updates in a row were not finite (last: step {state.step}, questions "
                    f"{ids} ...; batch in {dump}). The weights are those of the last good step. Lower "
                    "zero.optim.lr, or use model.dtype='float32', in a new run from the last checkpoint"
                )
        gap = result.metrics.get("policy/gap/mean")
        if result.made and gap is not None and not gap <= self.config.max_gap:
            self.write_metrics()
            raise RunError(
                f"step {state.step}: trainer and engine disagree by {gap:.3g} nats a token on the same "
                f"weights (bound zero.max_gap={self.config.max_gap}). Use model.dtype='float32', or "
                "raise the bound if you know why"
            )

    def look_for_plateau(self) -> None:
        """At the end of a window: does it still rise? If not, the state says why the stage is over."""
        config, state = self.config, self.state
        window = config.plateau_window
        if not window or not self.due(window):
            return
        found = plateau.means(state.recent, window)
        if found is None:
            return
        before, now = found
        self._rows[-1].values["plateau/gain"] = now - before
        if plateau.stands_still(before, now, config.plateau_gain) and state.step < config.steps:
            what = "accuracy" if self.rightness else "reward"
            gain, step = config.plateau_gain, state.step
            state.ended = plateau.sentence(
                before, now, window=window, gain=gain, what=what, step=step
            )
            self.event("plateau", step=step, before=before, now=now, what=what)
            self.console.note(state.ended)

    def evaluate(self) -> None:
        """Held-out evaluation of the present weights; remembers the best."""
        step = self.state.step
        with self.timed("time/eval_s"), merged(self.trainer.policy):
            values = self.heldout(step)
            self.engine.rest()
        if values:
            score = values["heldout/pass_at_1"]
            if score > self.state.best_score:
                self.state.best_step, self.state.best_score = step, score
                self._improved = True
        if not self._rows:
            self._rows.append(_Row(step, {}))
        self._rows[-1].values.update(values)

    def write_metrics(self) -> None:
        """Hand the rows of this phase to file, console and alerts."""
        elapsed = time.perf_counter() - self._last
        self._last = time.perf_counter()
        for number, it in enumerate(self._rows):
            if number == 0:
                it.values |= self._rates()
            it.values["time/step_s"] = elapsed / len(self._rows)
            row = self.metrics.append(it.step, it.values, attempt=self.attempt)
            if "reward/mean" in it.values:
                self.console.step(row, it.shown)
            for alert in self.alerts.look(row):
                self._tell(alert, it)
        self._rows.clear()
        self._times.clear()

    def _tell(self, alert: Alert, row: _Row) -> None:
        """Say an alert, with answers of the step to read."""
        rollouts = self._rollouts(row.step).with_suffix(".jsonl")
        where, samples = suspects.links(alert.kind, row.suspects, str(rollouts))
        self.console.alert(alert.text + where)
        self.event(
            "alert",
            stage=self.folder.name,
            step=row.step,
            name=alert.kind,
            text=alert.text,
            samples=samples,
        )

    def checkpoint(self) -> None:
        """Write everything needed to go on from here; drop what is no longer kept."""
        state, start = self.state, time.perf_counter()
        state.alerts = self.alerts.state_dict()
        checkpoints = self.folder / "checkpoints"
        path = checkpoint.save(
            checkpoints,
            policy=self.trainer.policy,
            save_model=self.save_model,
            optimizer=self.trainer.optimizer,
            reference=self.reference,
            state=state,
        )
        checkpoint.prune(
            checkpoints,
            keep_last=self.config.keep_last,
            best_step=state.best_step,
            step=state.step,
        )
        self.graders.forget()  # verdicts before this checkpoint will not be asked for again
        self._improved = False
        seconds = time.perf_counter() - start
        self._took("time/checkpoint_s", seconds)
        self.event("checkpoint", step=state.step, path=str(path), seconds=round(seconds, 3))

    def due(self, every: int) -> bool:
        """Did this phase pass a multiple of `every` steps? 0: never."""
        step = self.state.step
        return bool(every) and step // every > (step - self.config.minibatches) // every

    def checkpoint_due(self) -> bool:
        return self._improved or self.due(self.config.checkpoint_every)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._took(name, time.perf_counter() - start)

    def _took(self, name: str, seconds: float) -> None:
        self._times[name] = self._times.get(name, 0.0) + seconds

    # -- parts ----------------------------------------------------------------------------------------

    def _remember(self, groups: Sequence[Group], reward: float | None) -> None:
        """One value of a step for the plateau; none while preference rewards are still to come."""
        window = self.config.plateau_window
        value = step_metrics.accuracy(groups) if self.rightness else reward
        if window and self._paying and value is not None:
            self.state.recent = plateau.kept(self.state.recent, value, window)

    def _collect(self, asked: Sequence[int], attempt: int) -> list[Group]:
        start = time.perf_counter()
        total = len(asked) * self.config.group_size

        def progress(done: int, tokens: int) -> None:
            self.console.heartbeat(done, total, tokens / (time.perf_counter() - start))

        with self.timed("time/rollout_s"):
            return collect(
                self.engine,
                self.graders,
                self.score if self._paying or self.early_score is None else self.early_score,
                [self.questions[i] for i in asked],
                self.config.group_size,
                self._stream(),
                phase=f"{self.folder.name}/{self.state.phase}",
                attempt=attempt,
                tags=self.tags,
                progress=progress,
                waited=lambda seconds: self._took("time/grade_wait_s", seconds),
            )

    def _stream(self) -> SamplingParams:
        return replace(self.params, stream=(*self.params.stream, self.state.phase))

    def _check_graders(self, groups: Sequence[Group]) -> None:
        scored = [s for group in groups for s in group.scored]
        failed = [s for s in scored if s.grade.failed]
        if len(failed) > self.config.max_grader_failures * len(scored):
            first = failed[0]
            raise RunError(
                f"phase {self.state.phase}: our graders failed on {len(failed)} of {len(scored)} answers "
                f"(bound zero.max_grader_failures={self.config.max_grader_failures}); first: "
                f"{first.rollout.prompt_id} sample {first.rollout.sample}: {first.grade.status}, "
                f"{first.grade.reason}. Check the gold answers with `aha grade`, or raise "
                "zero.grader_seconds"
            )

    def _rates(self) -> dict[str, float | None]:
        """Times, memory and rates of the whole phase; they stand in its first row."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found: dict[str, float | None] = dict(self._times)
        found["memory/peak_gb"] = peak * (1 if sys.platform == "darwin" else 1024) / 1e9
        rollout, update = found.get("time/rollout_s"), found.get("time/update_s")
        count = [it.values.get("rollout/tokens/sum") or 0.0 for it in self._rows]
        trained = [it.values.get("optim/tokens/sum") or 0.0 for it in self._rows]
        found["rate/graded_per_s"] = self.graders.rate()
        if rollout:
            found["rate/rollout_tokens_per_s"] = sum(count) / rollout
        if update:
            found["rate/update_tokens_per_s"] = sum(trained) / update
        return found

    def _rollouts(self, step: int) -> Path:
        """The rollouts of a step, without a suffix."""
        return self.folder / "rollouts" / f"step_{step:06d}"

    def _write_rollouts(self, step: int, samples: Sequence[Any], groups: Sequence[Group]) -> None:
        """Readable rows in JSONL; token ids and log-probabilities in Parquet beside it."""
        name = self._rollouts(step)
        files.write_jsonl(name.with_suffix(".jsonl"), step_metrics.rollout_rows(groups))
        table = pa.table(
            {
                "prompt_id": [s.scored.rollout.prompt_id for s in samples],
                "sample": [s.scored.rollout.sample for s in samples],
                "token_ids": [list(s.scored.rollout.token_ids) for s in samples],
                "logprobs": pa.array(
                    [list(s.scored.rollout.logprobs) for s in samples], pa.list_(pa.float32())
                ),
                "advantage": [s.advantage[0] if s.advantage else 0.0 for s in samples],
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        files.write_bytes(name.with_suffix(".parquet"), sink.getvalue().to_pybytes())

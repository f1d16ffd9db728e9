"""The course of a stage that learns examples: its steps, its log, its checkpoints, and how it goes on.

    RUN/NAME/metrics.jsonl         a row of step 0 (held out only), then one for each step
    RUN/NAME/checkpoints/step_N/   the model (hf/) and everything to go on from (state/)

What a step does, how the held-out part is measured and how the model is written are functions that the
stage gives (stages/sft.py, dpo.py, reward_model.py); the course knows nothing of them.

Must stay true: a killed course goes on from its newest whole checkpoint to the same bytes; rows of steps
that are computed again are cut off first.
"""

import dataclasses
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aha import files
from aha.errors import RunError, Stopped
from aha.report.console import Console
from aha.report.metrics import MetricsFile
from aha.stages.stop import Stop
from aha.train import checkpoint
from aha.train.checkpoint import State
from aha.train.optim import Optimizer
from aha.train.run import SKIPS
from aha.train.step import StepResult

Values = Mapping[str, float | None]


class Schedule(Protocol):
    """What a stage's table says about the course."""

    @property
    def eval_every(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...
    @property
    def keep_last(self) -> int: ...


@dataclasses.dataclass(kw_only=True)
class Course:
    """A stage under way: `begin`, then `train`."""

    name: str
    folder: Path
    config: Schedule
    steps: int
    """Optimizer steps in all."""
    step: Callable[[int], StepResult]
    """The 0-based number of a step -> its metrics, with `optim/tokens/sum`."""
    heldout: Callable[[int], Values]
    """Steps done -> metrics of what is held out; {} if nothing is."""
    export: Callable[[Path, int], None]
    """Writes the model after so many steps into a new folder."""
    loss: str
    """The metric that every row of a step has."""
    policy: Any
    optimizer: Optimizer
    console: Console
    attempt: int
    event: Callable[..., None]
    state: State = dataclasses.field(default_factory=State)
    resumed: bool = False

    def begin(self, title: str, lines: Sequence[str]) -> None:
        """Go to the newest whole checkpoint, if there is one; the first lines of the console.

        Raises:
            RunError: there are checkpoints, and none is whole or fits.
        """
        checkpoints = self.folder / "checkpoints"
        files.clean(checkpoints)
        found = checkpoint.newest(checkpoints, warn=self.console.alert)
        if found is None and any(checkpoints.glob("step_*")):
            raise RunError(
                f"no checkpoint in {checkpoints} is whole. Put a copy of one back, or move "
                f"{self.folder} away to start over"
            )
        if found is not None:
            self.state = checkpoint.load(found, optimizer=self.optimizer, reference=None)
            self.console.note(f"resuming from {found.name} (attempt {self.attempt})")
            self._prune()  # the attempt before may have been killed at it
        self.metrics = MetricsFile(self.folder / "metrics.jsonl")
        self.metrics.truncate_after(self.state.step if found is not None else -1)
        self.resumed = found is not None
        self.event("start", stage=self.name, step=self.state.step, checkpoint=str(found))
        self.console.start(title, list(lines), steps=self.steps)

    def train(self, stop: Stop) -> None:
        """The steps that are left.

        Raises:
            RunError: too many updates in a row were not finite.
            Stopped: the user asked for it; a checkpoint was written first.
        """
        state, config = self.state, self.config
        if not self.resumed:
            began = time.perf_counter()
            self._write(0, self.heldout(0), began)
            self._save()
        while state.step < self.steps:
            began = time.perf_counter()
            result = self.step(state.step)
            state.step += 1
            self._watch(result.made)
            values: dict[str, float | None] = dict(result.metrics)
            values["optim/skipped/sum"] = float(not result.made)
            seconds = time.perf_counter() - began
            values["time/update_s"] = seconds
            values["rate/update_tokens_per_s"] = result.metrics["optim/tokens/sum"] / seconds
            last = state.step == self.steps
            if last or (config.eval_every and state.step % config.eval_every == 0):
                values |= self.heldout(state.step)
            self._write(state.step, values, began)
            if last or stop.asked or state.step % config.checkpoint_every == 0:
                self._save()
            if stop.asked and not last:
                raise Stopped(
                    f"stopped after step {state.step}; everything is saved. Go on with: "
                    f"aha resume {self.folder.parent}"
                )

    def ends(self, family: str, *names: str) -> dict[str, float]:
        """`heldout_NAME_before` and `heldout_NAME` of each metric FAMILY/heldout/NAME, if measured."""
        wanted = f"{family}/heldout/{names[0]}"
        rows = [row for row in self.metrics.rows() if row.get(wanted) is not None]
        found: dict[str, float] = {}
        for name in names if rows else ():
            found[f"heldout_{name}_before"] = rows[0][f"{family}/heldout/{name}"]
            found[f"heldout_{name}"] = rows[-1][f"{family}/heldout/{name}"]
        return found

    def _watch(self, made: bool) -> None:
        self.state.skipped_in_row = 0 if made else self.state.skipped_in_row + 1
        if self.state.skipped_in_row >= SKIPS:
            raise RunError(
                f"{SKIPS} updates in a row were not finite (last: step {self.state.step}). The weights are "
                f"those of the last good step; lower {self.name}.optim.lr, or use model.dtype='float32'"
            )

    def _write(self, step: int, values: Values, began: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        row = self.metrics.append(
            step,
            {
                **values,
                "memory/peak_gb": peak * (1 if sys.platform == "darwin" else 1024) / 1e9,
                "time/step_s": time.perf_counter() - began,
            },
            attempt=self.attempt,
        )
        if self.loss in values:
            self.console.step(row)

    def _save(self) -> None:
        checkpoints, step = self.folder / "checkpoints", self.state.step
        checkpoint.save(
            checkpoints,
            policy=self.policy,
            save_model=lambda path: self.export(path, step),
            optimizer=self.optimizer,
            reference=None,
            state=self.state,
        )
        self._prune()
        self.event("checkpoint", stage=self.name, step=step)

    def _prune(self) -> None:
        keep, step = self.config.keep_last, self.state.step
        checkpoint.prune(self.folder / "checkpoints", keep_last=keep, best_step=-1, step=step)

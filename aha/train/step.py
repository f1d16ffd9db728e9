"""One optimizer step over any columns: forward, loss, backward, update.

The step is blind to the algorithm: GRPO, SFT and their kin differ in the columns of the units. A
loss or gradient that is not finite skips the update; the caller counts, dumps and stops.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aha.models.policy import Policy
from aha.rl.losses import Ratio, column_loss
from aha.train import memory
from aha.train.batch import Batch, Tree, micro_batches, to_batch
from aha.train.optim import Optimizer
from aha.train.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """What the loss does with the columns; see rl/losses.py."""

    temperature: float = 1.0
    ratio: Ratio = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 0.0


@dataclass(frozen=True, slots=True)
class StepResult:
    metrics: dict[str, float]
    made: bool
    """False: loss or gradient was not finite and nothing was changed."""


@dataclass(slots=True)
class _Sums:
    """Numbers of a step. They stay on the device until its end: reading one waits for the device."""

    tokens: int = 0
    totals: dict[str, Tensor] = field(default_factory=dict)
    highest: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        """Sum in float64; value is a scalar."""
        value = value.detach().double()
        self.totals[name] = self.totals[name] + value if name in self.totals else value

    def rise(self, name: str, value: Tensor) -> None:
        value = value.detach()
        known = self.highest.get(name)
        self.highest[name] = value if known is None else torch.maximum(known, value)


class Trainer:
    """Holds the policy, its optimizer and, if KL is on, the reference.

    Args:
        budget: tokens of a micro-batch.
    """

    def __init__(
        self,
        policy: Policy,
        optimizer: Optimizer,
        *,
        options: LossOptions,
        budget: int,
        reference: Reference | None = None,
        prefix_sharing: bool = True,
    ) -> None:
        self.policy, self.optimizer, self.reference = policy, optimizer, reference
        self.options, self.budget, self.prefix_sharing = options, budget, prefix_sharing

    def step(self, trees: Sequence[Tree], number: int, *, on_policy: bool) -> StepResult:
        """Update with the gradient of all trees.

        Args:
            number: 0-based number of the step, for the learning rate.
            on_policy: the weights are the ones that sampled: then trainer and engine
                log-probabilities must agree, and their gap is measured.
        """
        sums = _Sums()
        losses: list[Tensor | float] = []
        for trees_of_batch in self._batches(trees):
            batch = to_batch(trees_of_batch, device=self._device)
            losses.append(self._backward(batch, sums, on_policy))
            memory.relieve()
        finite = all(math.isfinite(float(loss)) for loss in losses)
        if finite:
            norm, lr, made = self.optimizer.step(number)
        else:
            self.optimizer.forget()
            norm, lr, made = math.nan, 0.0, False
        return StepResult(metrics=self._metrics(sums, norm, lr, on_policy), made=made)

    @torch.no_grad()
    def logprobs(self, trees: Sequence[Tree]) -> list[list[float]]:
        """Log-probabilities of every unit under the present policy, tree by tree, unit by unit."""
        out: list[list[float]] = []
        for trees_of_batch in self._batches(trees):
            batch = to_batch(trees_of_batch, device=self._device)
            values = self.policy(batch.stream, self.options.temperature)[0].tolist()
            for tree in trees_of_batch:
                for unit in tree.units:
                    out.append(values[: len(unit.token_ids)])
                    values = values[len(unit.token_ids) :]
        return out

    def _batches(self, trees: Sequence[Tree]) -> list[list[Tree]]:
        return micro_batches(trees, self.budget, prefix_sharing=self.prefix_sharing)

    def _backward(self, batch: Batch, sums: _Sums, on_policy: bool) -> Tensor | float:
        options = self.options
        columns = dict(batch.columns)
        engine_logp = columns.pop("engine_logp", None)
        ref_logp: Tensor | None = None
        if "kl_weight" in columns:
            assert self.reference is not None
            ref_logp = self.reference.logprobs(batch.stream, options.temperature)
        logp, entropy = self.policy(batch.stream, options.temperature)
        loss, stats = column_loss(
            logp,
            unit=batch.unit,
            num_units=batch.num_units,
            ref_logp=ref_logp,
            ratio=options.ratio,
            clip_low=options.clip_low,
            clip_high=options.clip_high,
            dual_clip=options.dual_clip,
            **columns,
        )
        loss.backward()
        with torch.no_grad():
            sums.tokens += len(logp)
            sums.add("loss", loss)
            sums.add("entropy", entropy.sum())
            if "is_weight" in columns:
                sums.add("is_weight", columns["is_weight"].sum())
            for name, value in stats.items():
                (sums.rise if name == "ratio_max" else sums.add)(name, value)
            if on_policy and engine_logp is not None and len(logp):
                gap = (logp - engine_logp).abs()
                sums.add("gap", gap.sum())
                sums.rise("gap_max", gap.max())
        return loss.detach()

    def _metrics(self, sums: _Sums, norm: float, lr: float, on_policy: bool) -> dict[str, float]:
        totals = {name: float(value) for name, value in sums.totals.items()}
        metrics = {
            "policy/loss": totals.pop("loss", 0.0),
            "optim/grad_norm": norm,
            "optim/lr": lr,
            "optim/tokens/sum": float(sums.tokens),
        }
        if not sums.tokens:  # every group was flat: nothing was computed, so nothing is known
            return metrics
        names = {"entropy": "policy/entropy/mean", "ratio": "policy/ratio/mean"}
        names |= {"kl": "policy/kl/mean", "is_weight": "policy/is_weight/mean"}
        names |= {"clip_low": "policy/clip_low/share", "clip_high": "policy/clip_high/share"}
        gap = totals.pop("gap", 0.0)
        for name, value in totals.items():
            metrics[names[name]] = value / sums.tokens
        if "ratio" in totals:
            metrics["policy/ratio/max"] = max(0.0, float(sums.highest["ratio_max"]))
        if on_policy:
            metrics["policy/gap/mean"] = gap / sums.tokens
            metrics["policy/gap/max"] = float(sums.highest.get("gap_max", 0.0))
        return metrics

    @property
    def _device(self) -> torch.device:
        return next(self.policy.parameters()).device

"""Packing: where plain records become tensors.

A tree is a prompt and the answers that share it; a unit is one answer with its columns. The packer
puts trees into micro-batches under a token budget and never splits a unit; a tree over the budget is
split between its answers and its prompt repeated. Weights in the columns already carry the step's
denominators, so neither the budget nor the order can change loss or gradient.
"""

# S = scored tokens of a micro-batch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aha.models.policy import Stream, pack


@dataclass(frozen=True, slots=True)
class Unit:
    """One answer. Every column has one number per token."""

    token_ids: Sequence[int]
    columns: Mapping[str, Sequence[float]]
    """pg_weight, advantage, old_logp, is_weight, ce_weight, kl_weight, engine_logp."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A prompt and answers to it."""

    token_ids: Sequence[int]
    units: Sequence[Unit]

    @property
    def tokens(self) -> int:
        return len(self.token_ids) + sum(len(unit.token_ids) for unit in self.units)


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch on the device."""

    stream: Stream
    columns: dict[str, Tensor]  # each [S] float32
    unit: Tensor  # [S] int64
    num_units: int


def micro_batches(
    trees: Sequence[Tree], budget: int, *, prefix_sharing: bool = True
) -> list[list[Tree]]:
    """Trees in order, as many in a micro-batch as the token budget holds.

    A single unit longer than the budget gets a micro-batch of its own.
    """
    batches: list[list[Tree]] = []
    size = 0
    for tree in trees:
        for part in _split(tree, budget if prefix_sharing else 0):
            if not batches or size + part.tokens > budget:
                batches.append([])
                size = 0
            batches[-1].append(part)
            size += part.tokens
    return batches


def _split(tree: Tree, budget: int) -> list[Tree]:
    """Parts of a tree that fit the budget (0: one answer each)."""
    if tree.tokens <= budget:
        return [tree]
    parts: list[Tree] = []
    units: list[Unit] = []
    size = len(tree.token_ids)
    for unit in tree.units:
        if units and size + len(unit.token_ids) > budget:
            parts.append(replace(tree, units=units))
            units, size = [], len(tree.token_ids)
        units.append(unit)
        size += len(unit.token_ids)
    if units:
        parts.append(replace(tree, units=units))
    return parts


def to_batch(trees: Sequence[Tree], *, device: torch.device | str = "cpu") -> Batch:
    """Tensors of a micro-batch. All units have the same columns."""
    units = [unit for tree in trees for unit in tree.units]
    names = list(units[0].columns) if units else []
    columns = {
        name: torch.tensor(
            [value for unit in units for value in unit.columns[name]],
            dtype=torch.float32,
            device=device,
        )
        for name in names
    }
    numbers = [i for i, unit in enumerate(units) for _ in unit.token_ids]
    stream = pack(
        [tree.token_ids for tree in trees],
        [[unit.token_ids for unit in tree.units] for tree in trees],
        device=device,
    )
    return Batch(
        stream=stream,
        columns=columns,
        unit=torch.tensor(numbers, dtype=torch.long, device=device),
        num_units=len(units),
    )

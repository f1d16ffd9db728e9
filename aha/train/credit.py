"""From scored groups to the columns of the loss.

Everything that an algorithm of the GRPO family decides stands here: advantages over whole groups,
denominators over the whole optimizer step, which answers are computed at all. Flat groups, masked and
ungraded answers stay in the denominators even when their compute is skipped.
"""

from collections.abc import Sequence

import torch

from aha.config import ZeroConfig
from aha.records import Group, Sample
from aha.rl.advantages import group_advantages, is_flat, per_token
from aha.rl.losses import token_weights
from aha.train.batch import Tree, Unit


def flat(group: Group) -> bool:
    """Do all verdicts of the group earn the same? Then it teaches nothing."""
    rewards = torch.tensor([s.reward for s in group.scored], dtype=torch.float64)
    return is_flat(rewards, torch.tensor([s.valid for s in group.scored]))


def to_samples(group: Group, config: ZeroConfig) -> list[Sample]:
    """Give each answer of a group its advantage, token by token."""
    rewards = torch.tensor([s.reward for s in group.scored], dtype=torch.float64)
    valid = torch.tensor([s.valid for s in group.scored])
    advantages = group_advantages(rewards, valid, kind=config.advantage)
    vectors = per_token(advantages, [len(s.rollout.token_ids) for s in group.scored])
    return [
        Sample(scored=s, advantage=vector) for s, vector in zip(group.scored, vectors, strict=True)
    ]


def to_trees(groups: Sequence[Group], config: ZeroConfig) -> list[Tree]:
    """All groups of one optimizer step as trees with columns."""
    scored = [s for group in groups for s in group.scored]
    tokens = sum(len(s.rollout.token_ids) for s in scored)
    trees = []
    for group in groups:
        units = []
        samples = [s for s in to_samples(group, config) if _computed(s, config)]
        weights = token_weights(
            [len(s.scored.rollout.token_ids) for s in samples],
            aggregation=config.aggregation,
            answers=len(scored),
            tokens=tokens,
            cap=config.max_answer_tokens,
        )
        for sample, weight in zip(samples, weights, strict=True):
            rollout = sample.scored.rollout
            each = (weight,) * len(rollout.token_ids)
            columns = {
                "pg_weight": each,
                "advantage": sample.advantage,
                "old_logp": rollout.logprobs,
                "engine_logp": rollout.logprobs,
            }
            if config.kl_coef:
                columns["kl_weight"] = tuple(config.kl_coef * w for w in each)
            units.append(Unit(rollout.token_ids, columns))
        if units:
            trees.append(Tree(group.rendered.token_ids, units))
    return trees


def _computed(sample: Sample, config: ZeroConfig) -> bool:
    """Has the answer any part in the gradient?"""
    scored = sample.scored
    if not scored.valid or not scored.rollout.token_ids:
        return False
    if config.overlong == "mask" and scored.rollout.stopped == "length":
        return False
    return bool(config.kl_coef) or any(sample.advantage)


def recompute_old(
    trees: Sequence[Tree], logprobs: Sequence[Sequence[float]], *, truncated_is: float
) -> list[Tree]:
    """Trees whose old log-probabilities are the trainer's (`logprobs`: unit by unit).

    With `truncated_is` c > 0 the policy-gradient term is weighted by min(p_trainer / p_engine, c),
    token by token.
    """
    values = iter(logprobs)
    out = []
    for tree in trees:
        units = []
        for unit in tree.units:
            old = list(next(values))
            columns = {**unit.columns, "old_logp": old}
            if truncated_is:
                ratio = torch.exp(
                    torch.tensor(old, dtype=torch.float64)
                    - torch.tensor(unit.columns["engine_logp"], dtype=torch.float64)
                )
                columns["is_weight"] = ratio.clamp_max(truncated_is).tolist()
            units.append(Unit(unit.token_ids, columns))
        out.append(Tree(tree.token_ids, units))
    return out

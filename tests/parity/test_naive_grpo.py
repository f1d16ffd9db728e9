"""The packed, prefix-shared, column-weighted step against GRPO as the papers write it.

The oracle is a padded batch through the plain transformers model (sdpa, full log-softmax) and loops
over answers and tokens; it shares no code with aha/train and aha/rl.
"""

import copy
import itertools
import math

import pytest
import torch
from small_policies import KINDS, apart, engine, gradients, group, trainer
from tiny import fresh as policy

from aha.config import ZeroConfig
from aha.train.credit import to_trees
from aha.train.reference import Reference

RATIOS = ("token", "sequence", "sequence_mean")
AGGREGATIONS = ("answer_mean", "token_mean", "constant")


def padded_logprobs(model, rows, temperature):
    """Log-probability of each answer token: prompts padded left, answers right, one batch."""
    before = max(len(prompt) for prompt, _ in rows)
    after = max(len(answer) for _, answer in rows)
    ids = torch.zeros(len(rows), before + after, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, (prompt, answer) in enumerate(rows):
        ids[i, before - len(prompt) : before + len(answer)] = torch.tensor([*prompt, *answer])
        mask[i, before - len(prompt) : before + len(answer)] = 1
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
    ).logits
    logp = torch.log_softmax(logits.float() / temperature, dim=-1)
    return [
        [logp[i, before + t - 1, token] for t, token in enumerate(answer)]
        for i, (_, answer) in enumerate(rows)
    ]


def naive(model, reference, groups, config):
    """Loss by the definition. DeepSeekMath Eq. 3, DeepSeek-R1 Eq. 1-3, GSPO, DAPO, Dr. GRPO."""
    rows = [(g.rendered.token_ids, s.rollout.token_ids) for g in groups for s in g.scored]
    now = iter(padded_logprobs(model, rows, config.temperature))
    with torch.no_grad():
        anchored = iter(padded_logprobs(reference, rows, config.temperature))
    answers = len(rows)
    tokens = sum(len(answer) for _, answer in rows)
    loss = torch.zeros(())
    for g in groups:
        known = [s.reward for s in g.scored if s.valid]
        mean = sum(known) / len(known) if known else 0.0
        spread = sum((r - mean) ** 2 for r in known)
        std = math.sqrt(spread / (len(known) - 1)) if len(known) > 1 else 0.0
        for s in g.scored:
            logp, ref = next(now), next(anchored)
            cut = config.overlong == "mask" and s.rollout.stopped == "length"
            if not s.valid or cut:
                continue
            advantage = (s.reward - mean) / std if std else 0.0
            logs = [p - old for p, old in zip(logp, s.rollout.logprobs, strict=True)]
            n = len(logs)
            for t in range(n):
                if config.ratio == "token":
                    ratio = torch.exp(logs[t])
                elif config.ratio == "sequence":
                    ratio = torch.exp(sum(logs))
                else:
                    ratio = torch.exp(sum(logs) / n)
                bounded = torch.clamp(ratio, 1 - config.clip_low, 1 + config.clip_high)
                gain = torch.minimum(ratio * advantage, bounded * advantage)
                if config.dual_clip and advantage < 0:
                    gain = torch.clamp(gain, min=config.dual_clip * advantage)
                rest = ref[t] - logp[t]
                each = -gain + config.kl_coef * (torch.exp(rest) - rest - 1)
                if config.aggregation == "answer_mean":
                    loss = loss + each / (answers * n)
                elif config.aggregation == "token_mean":
                    loss = loss + each / tokens
                else:
                    loss = loss + each / (answers * config.max_answer_tokens)
    return loss


def oracle(of, reference, groups, config):
    model = copy.deepcopy(of.model)
    model.set_attn_implementation("sdpa")
    anchor = copy.deepcopy(reference.model)
    anchor.set_attn_implementation("sdpa")
    loss = naive(model, anchor, groups, config)
    loss.backward()
    found = {
        f"model.{n}": torch.zeros_like(p) if p.grad is None else p.grad
        for n, p in model.named_parameters()
    }
    return float(loss.detach()), found


def ragged_groups(of, seed=0):
    """Prompts and answers of many lengths; a flat group, a cut answer, an answer without verdict.

    Old log-probabilities are those of `of`, shaken, so that ratios leave the clip range both ways.
    """
    generator = torch.Generator().manual_seed(seed)

    def ids(n):
        return torch.randint(3, 97, (n,), generator=generator).tolist()

    def make(name, prompt, lengths, rewards, **more):
        prompt, answers = ids(prompt), [ids(n) for n in lengths]
        known = engine(of).score([prompt] * len(answers), answers)
        shaken = [
            (torch.tensor(row) + 0.25 * torch.randn(len(row), generator=generator)).tolist()
            for row in known
        ]
        return group(name, prompt, answers, rewards, logprobs=shaken, **more)

    return [
        make("a", 5, [3, 9, 1, 6], [1.0, 0.0, 0.0, 2.0]),
        make("flat", 2, [4, 2], [1.0, 1.0]),
        make("cut", 11, [7, 3, 2], [0.0, 1.0, 0.5], cut=[0]),
        make("failed", 1, [2, 5, 8], [0.0, 1.0, 0.0], failed=[2]),
        make("one verdict", 3, [2, 2], [1.0, 0.0], failed=[1]),
    ]


def compare(of, groups, config, *, prefix_sharing=True, budget=10_000, loss_bound=1e-5):
    changed = policy_near(of)
    worker = trainer(
        of,
        budget=budget,
        reference=changed if config.kl_coef else None,
        prefix_sharing=prefix_sharing,
        options={
            "temperature": config.temperature,
            "ratio": config.ratio,
            "clip_low": config.clip_low,
            "clip_high": config.clip_high,
            "dual_clip": config.dual_clip,
        },
    )
    loss, found = gradients(worker, to_trees(groups, config))
    wanted_loss, wanted = oracle(of, changed.policy, groups, config)
    assert loss == pytest.approx(wanted_loss, rel=loss_bound, abs=1e-7)
    assert apart(found, wanted) < 1e-5


def policy_near(of):
    """A reference whose weights differ a little from the policy's."""
    near = copy.deepcopy(of)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in near.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return Reference(near)


@pytest.mark.parametrize("kl", [0.0, 0.3])
@pytest.mark.parametrize("ratio,aggregation", [*itertools.product(RATIOS, AGGREGATIONS)])
def test_every_ratio_and_aggregation_is_the_definition(ratio, aggregation, kl):
    of = policy("llama")
    config = ZeroConfig(
        ratio=ratio,
        aggregation=aggregation,
        kl_coef=kl,
        overlong="mask",
        max_answer_tokens=12,
        temperature=0.8,
    )
    groups = ragged_groups(of)
    compare(of, groups, config, prefix_sharing=True)
    compare(of, groups, config, prefix_sharing=False, budget=40)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharing", [True, False])
def test_every_architecture(kind, sharing):
    of = policy(kind)
    compare(of, ragged_groups(of), ZeroConfig(kl_coef=0.1), prefix_sharing=sharing, budget=64)


def test_dual_clip_and_kept_overlong_answers():
    of = policy("qwen3")
    groups = ragged_groups(of)
    compare(of, groups, ZeroConfig(dual_clip=1.1, kl_coef=0.0, overlong="keep"))


def test_flat_masked_and_ungraded_answers_stay_in_the_denominators():
    """Adding only a flat group of 2 to 4 answers scales the loss by 4 / 6 (answer_mean)."""
    of = policy()
    config = ZeroConfig(kl_coef=0.0)
    groups = ragged_groups(of)
    alone, first = gradients(trainer(of), to_trees(groups[:1], config))
    both, second = gradients(trainer(of), to_trees(groups[:2], config))
    assert both == pytest.approx(alone * 4 / 6, rel=1e-5)
    assert apart(second, {n: g * 4 / 6 for n, g in first.items()}) < 1e-5


@pytest.mark.parametrize("ratio", RATIOS)
def test_budget_and_order_do_not_change_loss_or_gradient(ratio):
    of = policy("deepseek_v3")
    config = ZeroConfig(kl_coef=0.05, ratio=ratio, overlong="mask")
    groups = ragged_groups(of)
    reference = policy_near(of)
    trees = to_trees(groups, config)
    wanted_loss, wanted = gradients(
        trainer(of, reference=reference, options={"ratio": ratio}), trees
    )
    assert any(budget < tree.tokens for tree in trees for budget in (1, 16, 25))  # trees are split
    for budget in (1, 16, 25, 60):
        for order in (trees, trees[::-1], trees[2:] + trees[:2]):
            worker = trainer(of, reference=reference, budget=budget, options={"ratio": ratio})
            loss, found = gradients(worker, order)
            assert loss == pytest.approx(wanted_loss, rel=1e-5, abs=1e-8)
            assert apart(found, wanted) < 1e-5


def sampled(of, temperature):
    """Two groups of four answers from the engine, as collect would hand them over."""
    from aha.rollout.engine import SamplingParams

    works = engine(of)
    params = SamplingParams(max_tokens=9, temperature=temperature, stream=(3,))
    prompts = {"a": [5, 6, 7, 8], "b": [9, 10]}
    for name, prompt in prompts.items():
        works.submit(name, prompt, 4, params)
    rollouts = []
    while works.pending():
        rollouts += works.step()
    groups = []
    for name, prompt in prompts.items():
        mine = sorted((r for r in rollouts if r.prompt_id == name), key=lambda r: r.sample)
        groups.append(
            group(
                name,
                prompt,
                [r.token_ids for r in mine],
                [float(i % 2) for i in range(4)],
                logprobs=[r.logprobs for r in mine],
            )
        )
    return works, groups


def gaps(worker, works, groups):
    """|trainer - engine's samples| and |trainer - engine's score|, token by token."""
    temperature = worker.options.temperature
    config = ZeroConfig(kl_coef=0.1)
    trained = [v for row in worker.logprobs(to_trees(groups, config)) for v in row]
    rows = [(g.rendered.token_ids, s.rollout) for g in groups for s in g.scored]
    drawn = [v for _, rollout in rows for v in rollout.logprobs]
    scored = works.score(
        [p for p, _ in rows], [r.token_ids for _, r in rows], temperature=temperature
    )
    flat = torch.tensor([v for row in scored for v in row])
    own = torch.tensor(trained)
    return (own - torch.tensor(drawn)).abs(), (own - flat).abs()


@pytest.mark.parametrize("kind", KINDS)
def test_engine_and_trainer_agree_before_and_after_an_update(kind):
    of = policy(kind)
    works, groups = sampled(of, 0.7)
    worker = trainer(of, options={"temperature": 0.7}, budget=25)
    for gap in gaps(worker, works, groups):
        assert gap.max() < 1e-4
    result = worker.step(to_trees(groups, ZeroConfig(kl_coef=0.0)), 0, on_policy=True)
    assert result.made
    assert result.metrics["policy/gap/max"] < 1e-4
    assert result.metrics["policy/ratio/mean"] == pytest.approx(1.0, abs=1e-4)
    works.load(1)
    drawn, scored = gaps(worker, works, groups)
    assert drawn.max() > 1e-3  # the old samples are off-policy now: the weights did change
    assert scored.max() < 1e-4
    works, groups = sampled(of, 0.7)
    for gap in gaps(worker, works, groups):
        assert gap.max() < 1e-4


@pytest.mark.parametrize("kind, more", [("llama", {}), ("deepseek_v3", {"num_experts_per_tok": 4})])
def test_engine_and_trainer_agree_in_bfloat16(kind, more):
    """With smaller weights, as rounding grows with them, and with all experts: none to be chosen by it."""
    of = policy(kind, dtype=torch.bfloat16, initializer_range=0.15, **more)
    worker = trainer(of)
    for number in range(2):  # the second time after an update
        works, groups = sampled(of, 1.0)
        for gap in gaps(worker, works, groups):
            assert gap.mean() < 1e-2
        made = worker.step(to_trees(groups, ZeroConfig(kl_coef=0.0)), number, on_policy=True)
        assert made.metrics["policy/gap/mean"] < 1e-2

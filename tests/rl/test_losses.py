import math
from itertools import product

import pytest
import torch

from aha.rl.losses import clipped_surrogate, column_loss, importance_log_ratio, token_weights

RATIOS = ("token", "sequence", "sequence_mean")
AGGREGATIONS = ("answer_mean", "token_mean", "constant")
LENGTHS = (3, 1, 5, 2)
CAP = 8
UNIT = torch.tensor([i for i, n in enumerate(LENGTHS) for _ in range(n)])


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def columns(aggregation, *, beta=0.0, seed=0, advantages=(1.5, -0.5, -1.25, 0.75), spread=0.5):
    """Random answers of LENGTHS, float64; ratios far enough apart to be clipped on both sides."""
    random = torch.Generator().manual_seed(seed)
    size = sum(LENGTHS)
    logp = -3 * torch.rand(size, generator=random, dtype=torch.float64)
    noise = torch.randn(size, generator=random, dtype=torch.float64)
    answers, tokens = len(LENGTHS), sum(LENGTHS)
    each = token_weights(LENGTHS, aggregation=aggregation, answers=answers, tokens=tokens, cap=CAP)
    weight = double(*each)[UNIT]
    out = {
        "logp": logp,
        "old_logp": logp + spread * noise,
        "advantage": double(*advantages)[UNIT],
        "pg_weight": weight,
    }
    if beta:
        out["ref_logp"] = logp + 0.3 * torch.randn(size, generator=random, dtype=torch.float64)
        out["kl_weight"] = beta * weight
    return out


def loss_of(c, unit=UNIT, num_units=4, **options):
    return column_loss(c["logp"], unit=unit, num_units=num_units, **_rest(c), **options)


def _rest(c):
    return {name: value for name, value in c.items() if name != "logp"}


def slow(c, *, ratio, aggregation, low, high, dual, beta=0.0):
    """GRPO in Python loops over answers and tokens; returns loss and counts of clipped tokens."""
    total, start, lows, highs, kls = 0.0, 0, 0, 0, 0.0
    for n in LENGTHS:
        span = range(start, start + n)
        start += n
        logs = [c["logp"][t].item() - c["old_logp"][t].item() for t in span]
        for t, own in zip(span, logs, strict=True):
            r = {
                "token": math.exp(own),
                "sequence": math.prod(math.exp(x) for x in logs),
                "sequence_mean": math.prod(math.exp(x) for x in logs) ** (1 / n),
            }[ratio]
            a = c["advantage"][t].item()
            gain = min(r * a, max(min(r, 1 + high), 1 - low) * a)
            if dual and a < 0:
                gain = max(gain, dual * a)
            lows += a < 0 and r < 1 - low
            highs += a > 0 and r > 1 + high
            if beta:
                x = c["ref_logp"][t].item() - c["logp"][t].item()
                kls += math.exp(x) - x - 1
                gain -= beta * (math.exp(x) - x - 1)
            share = {
                "answer_mean": 1 / len(LENGTHS) / n,
                "token_mean": 1 / sum(LENGTHS),
                "constant": 1 / len(LENGTHS) / CAP,
            }[aggregation]
            total -= share * gain
    return total, lows, highs, kls


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_equals_slow_loops(ratio, aggregation):
    clipped = [0, 0]
    bounds = [(0.2, 0.2), (0.1, 0.4), (0.4, 0.1), (0.2, 10.0), (0.0, 0.0)]
    for seed, (low, high), dual, beta in product(range(4), bounds, (0.0, 1.3, 3.0), (0.0, 0.1)):
        c = columns(aggregation, beta=beta, seed=seed)
        got, stats = loss_of(c, ratio=ratio, clip_low=low, clip_high=high, dual_clip=dual)
        want, lows, highs, kls = slow(
            c, ratio=ratio, aggregation=aggregation, low=low, high=high, dual=dual, beta=beta
        )
        assert math.isclose(got.item(), want, rel_tol=1e-12, abs_tol=1e-14)
        assert (stats["clip_low"].item(), stats["clip_high"].item()) == (lows, highs)
        if beta:
            assert math.isclose(stats["kl"].item(), kls, rel_tol=1e-9)
        clipped[0] += lows
        clipped[1] += highs
    assert min(clipped) > 0  # both sides were really met


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_gradient_equals_finite_differences(ratio, aggregation):
    for seed, dual in product(range(3), (0.0, 1.3)):
        c = columns(aggregation, beta=0.1, seed=seed)

        def loss(logp, c=c, dual=dual):
            rest = _rest(c)
            return column_loss(
                logp, unit=UNIT, num_units=4, ratio=ratio, clip_high=0.3, dual_clip=dual, **rest
            )[0]

        assert torch.autograd.gradcheck(loss, (c["logp"].clone().requires_grad_(),), eps=1e-7)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_gradient_coefficient_at_ratio_one(aggregation):
    # DeepSeekMath Eq. 21: A + beta (pi_ref/pi - 1) multiplies grad log pi; the loss has the sign -
    beta = 0.04
    c = columns(aggregation, beta=beta, spread=0.0)
    logp = c["logp"].clone().requires_grad_()
    loss_of({**c, "logp": logp})[0].backward()
    ref_over_pi = (c["ref_logp"] - c["logp"]).exp()
    want = -c["pg_weight"] * (c["advantage"] + beta * (ref_over_pi - 1))
    torch.testing.assert_close(logp.grad, want, rtol=1e-12, atol=1e-15)


def test_gradient_is_whole_at_ratio_one_even_without_room_to_move():
    # min and clamp meet at 1: neither may swallow half of the gradient
    for low, high in ((0.2, 0.2), (0.0, 0.0)):
        c = columns("answer_mean", spread=0.0)
        logp = c["logp"].clone().requires_grad_()
        loss_of({**c, "logp": logp}, clip_low=low, clip_high=high)[0].backward()
        torch.testing.assert_close(logp.grad, -c["pg_weight"] * c["advantage"])


def test_sequence_ratio_at_one_gives_each_token_the_credit_of_the_answer():
    # d/dlogp_t of (1/G) r_i A_i with r_i = prod_t r_it is A_i / G, and A_i / (G |o_i|) for the mean
    c = columns("answer_mean", spread=0.0)
    for ratio, power in (("sequence", 0), ("sequence_mean", 1)):
        logp = c["logp"].clone().requires_grad_()
        loss_of({**c, "logp": logp}, ratio=ratio)[0].backward()
        lengths = double(*LENGTHS)[UNIT]
        torch.testing.assert_close(logp.grad, -c["advantage"] / 4 / lengths**power)


def test_sequence_with_answer_mean_is_eq_1_of_r1():
    # J = 1/G sum_i min(pi(o_i)/pi_old(o_i) A_i, clip(., 1 - eps, 1 + eps) A_i), answers as wholes
    eps, c = 0.2, columns("answer_mean", seed=3)
    objective, start = 0.0, 0
    for i, n in enumerate(LENGTHS):
        pi = math.exp(c["logp"][start : start + n].sum().item())
        pi_old = math.exp(c["old_logp"][start : start + n].sum().item())
        a = (1.5, -0.5, -1.25, 0.75)[i]
        objective += min(pi / pi_old * a, min(max(pi / pi_old, 1 - eps), 1 + eps) * a) / 4
        start += n
    got, _ = loss_of(c, ratio="sequence", clip_low=eps, clip_high=eps)
    assert math.isclose(got.item(), -objective, rel_tol=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_micro_batches_add_up(ratio):
    c = columns("token_mean", beta=0.1, seed=1)
    whole = c["logp"].clone().requires_grad_()
    total, stats = loss_of({**c, "logp": whole}, ratio=ratio)
    total.backward()
    cut = LENGTHS[0] + LENGTHS[1]
    parts, gradients, sums = [], [], {}
    for span in (slice(0, cut), slice(cut, None)):
        part = {name: value[span].clone() for name, value in c.items()}
        part["logp"].requires_grad_()
        unit = UNIT[span] - UNIT[span].min()
        loss, some = loss_of(part, unit=unit, num_units=2, ratio=ratio)
        loss.backward()
        parts.append(loss.detach())
        gradients.append(part["logp"].grad)
        for name in ("ratio", "clip_low", "clip_high", "kl"):
            sums[name] = sums.get(name, 0) + some[name]
    torch.testing.assert_close(sum(parts), total.detach())
    torch.testing.assert_close(torch.cat(gradients), whole.grad)
    for name, value in sums.items():
        torch.testing.assert_close(value, stats[name])


def test_clip_sides_by_hand():
    # ratio 2 and 1/2, advantage +1 and -1, bounds 0.9 and 1.4
    log_ratio = double(2.0, 2.0, 0.5, 0.5).log()
    advantage = double(1.0, -1.0, 1.0, -1.0)
    loss, low, high = clipped_surrogate(log_ratio, advantage, clip_low=0.1, clip_high=0.4)
    torch.testing.assert_close(loss, double(-1.4, 2.0, -0.5, 0.9))
    assert high.tolist() == [True, False, False, False]
    assert low.tolist() == [False, False, False, True]


def test_dual_clip_bounds_only_negative_advantages():
    log_ratio = double(5.0, 5.0, 2.0).log()
    advantage = double(1.0, -1.0, -1.0)
    loss, _, _ = clipped_surrogate(
        log_ratio, advantage, clip_low=0.2, clip_high=10.0, dual_clip=3.0
    )
    torch.testing.assert_close(loss, double(-5.0, 3.0, 2.0))


def test_a_ratio_beyond_float32_is_clipped_and_has_no_gradient():
    # a long answer whose tokens all became likelier: exp(200) is infinite, 0 x infinity is not 0
    logp = torch.zeros(100, requires_grad=True)
    old = torch.full((100,), -2.0)
    loss, _ = column_loss(
        logp,
        unit=torch.zeros(100, dtype=torch.long),
        num_units=1,
        pg_weight=torch.full((100,), 0.01),
        advantage=torch.ones(100),
        old_logp=old,
        ratio="sequence",
    )
    loss.backward()
    assert math.isclose(loss.item(), -1.2, rel_tol=1e-5)
    assert logp.grad.tolist() == [0.0] * 100


def test_importance_weight_multiplies_the_policy_term_only():
    c = columns("answer_mean", beta=0.1)
    weight = torch.linspace(0.5, 2.0, sum(LENGTHS), dtype=torch.float64)
    got, _ = loss_of({**c, "is_weight": weight})
    scaled, _ = loss_of({**c, "pg_weight": c["pg_weight"] * weight})
    torch.testing.assert_close(got, scaled)


def test_cross_entropy_column_is_weighted_negative_log_likelihood():
    logp = double(-1.0, -2.0, -4.0)
    loss, stats = column_loss(
        logp, unit=torch.tensor([0, 0, 1]), num_units=2, ce_weight=double(0.5, 0.0, 0.25)
    )
    assert loss.item() == 1.5
    assert stats == {}


def test_statistics_are_sums_over_tokens():
    c = columns("answer_mean", beta=0.1)
    _, stats = loss_of({**c, "logp": c["logp"].requires_grad_()})
    each = (c["logp"] - c["old_logp"]).detach().exp()
    torch.testing.assert_close(stats["ratio"], each.sum())
    torch.testing.assert_close(stats["ratio_max"], each.max())
    assert not any(value.requires_grad for value in stats.values())


def test_an_empty_micro_batch_is_zero():
    none = torch.zeros(0)
    loss, stats = column_loss(
        none.clone().requires_grad_(),
        unit=torch.zeros(0, dtype=torch.long),
        num_units=0,
        pg_weight=none,
        advantage=none,
        old_logp=none,
        kl_weight=none,
        ref_logp=none,
        ratio="sequence_mean",
    )
    assert loss.item() == 0
    assert stats["ratio_max"].item() == 0


def test_token_weights_by_hand():
    def weights(aggregation):
        return token_weights([2, 0, 5], aggregation=aggregation, answers=4, tokens=10, cap=20)

    assert weights("answer_mean") == [1 / 8, 0.0, 1 / 20]
    assert weights("token_mean") == [1 / 10] * 3
    assert weights("constant") == [1 / 80] * 3


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="token_mean"):
        token_weights([1], aggregation="mean", answers=1, tokens=1, cap=1)
    with pytest.raises(ValueError, match="sequence_mean"):
        importance_log_ratio(double(0.0), double(0.0), torch.tensor([0]), 1, ratio="product")

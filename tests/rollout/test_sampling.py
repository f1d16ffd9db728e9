import math

import pytest
import torch

from aha.rollout.local import sampling
from aha.rollout.local.sampling import draw

SIZES = (2, 97, 256, 257, 600)
LARGEST = 1 - 2.0**-53


def logits_of(size, seed=0, scale=2.0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale


def slow_shares(logits, temperature=1.0, top_p=1.0, top_k=0):
    """The distribution to sample from, in Python floats: top-k, renormalise, top-p, renormalise."""
    weights = [math.exp(x / temperature) for x in logits.double().tolist()]
    shares = {token: w / sum(weights) for token, w in enumerate(weights)}
    order = sorted(shares, key=lambda token: (-shares[token], token))
    if top_k:
        order = order[:top_k]
    kept, mass = [], 0.0
    total = sum(shares[token] for token in order)
    for token in order:
        if mass >= top_p:
            break
        kept.append(token)
        mass += shares[token] / total
    total = sum(shares[token] for token in kept)
    return {token: shares[token] / total for token in kept}


def counts(logits, points, **options):
    """How often each token comes for a fine grid of uniforms: its share, but for one grid point."""
    grid = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    token, _ = draw(logits.expand(points, -1), grid, **options)
    return torch.bincount(token, minlength=len(logits)).tolist()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.0},
        {"temperature": 0.4},
        {"temperature": 1.7},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 0.8, "top_k": 7},
        {"temperature": 0.6, "top_p": 0.95},
        {"temperature": 1.3, "top_p": 0.31},
        {"temperature": 1.0, "top_p": 1e-9},
        {"temperature": 1.5, "top_k": 20, "top_p": 0.7},
        {"temperature": 1.0, "top_k": 10_000},
    ],
    ids=str,
)
def test_frequencies_are_the_distribution(size, options):
    points, logits = 8_000, logits_of(size, seed=size)
    shares = slow_shares(logits, **options)
    for token, hits in enumerate(counts(logits, points, **options)):
        share = shares.get(token, 0.0)
        assert (hits > 0) <= (share > 0), "a token outside of the cut"
        assert abs(hits - points * share) <= 1.001


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_inverse_of_the_cumulative_sum(size):
    logits = logits_of(size, seed=1)
    uniform = torch.rand(2000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    token, logp = draw(logits.expand(2000, -1), uniform, temperature=0.9)
    shares = torch.softmax(logits.double() / 0.9, -1)
    want = torch.searchsorted(shares.cumsum(-1), uniform, right=True)
    assert torch.equal(token, want)
    torch.testing.assert_close(logp.double(), shares.log()[token], atol=1e-5, rtol=1e-5)


def test_a_block_of_rare_tokens_is_resolved():
    # 255 tokens of 2^-26 after one of almost 1: adding them to it one by one in float32 loses all
    logits = torch.full((256,), -26 * math.log(2.0))
    logits[0] = 0.0
    total = 1 + 255 * 2.0**-26
    middle = [(1 + (i - 0.5) * 2.0**-26) / total for i in range(1, 256)]  # of token i
    uniform = torch.tensor(middle, dtype=torch.float64)
    token, _ = draw(logits.expand(255, -1), uniform, temperature=1.0)
    assert (token[1:] >= token[:-1]).all()
    assert (token - torch.arange(1, 256)).abs().max() <= 8  # the block's own sum is float32
    assert len(set(token.tolist())) > 240


@pytest.mark.parametrize("uniform", [0.0, 0.5, LARGEST])
@pytest.mark.parametrize("options", [{}, {"top_k": 300}, {"top_p": 0.999}], ids=str)
@pytest.mark.parametrize("possible", [(3, 40, 300), (300, 301, 400), (690, 695, 699)])
def test_impossible_tokens_are_never_drawn(possible, uniform, options):
    # shares of 0 at both ends, and whole blocks of them before and after
    logits = torch.full((200, 700), float("-inf"))
    logits[:, possible] = logits_of(600, seed=7, scale=1.0).view(200, 3)
    rows = torch.full((200,), uniform, dtype=torch.float64)
    token, logp = draw(logits, rows, temperature=1.0, **options)
    assert set(token.tolist()) <= set(possible)
    assert torch.isfinite(logp).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_ends_of_the_interval_are_the_first_and_the_last_token(size):
    # the sums of 200 rows are rounded up and down: none may point past the last token
    logits = logits_of(200 * size, seed=8, scale=0.5).view(200, size)
    for uniform, want in ((0.0, 0), (LARGEST, size - 1)):
        rows = torch.full((200,), uniform, dtype=torch.float64)
        token, _ = draw(logits, rows, temperature=1.0)
        assert set(token.tolist()) == {want}


def test_greedy_takes_the_lowest_of_equals_and_the_untempered_logits():
    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0]])
    token, logp = draw(logits, torch.tensor([0.99], dtype=torch.float64), temperature=0)
    assert token.item() == 1
    total = math.log(1 + 2 * math.exp(2) + math.exp(1))
    assert math.isclose(logp.item(), 2 - total, rel_tol=1e-6)


def test_log_probabilities_are_those_before_the_cut():
    logits = logits_of(97, seed=4)
    uniform = torch.linspace(0, 0.999, 300, dtype=torch.float64)
    want = torch.log_softmax(logits.double() / 0.6, -1)
    for options in ({"top_k": 3}, {"top_p": 0.5}):
        token, logp = draw(logits.expand(300, -1), uniform, temperature=0.6, **options)
        torch.testing.assert_close(logp.double(), want[token], atol=1e-5, rtol=1e-5)


def test_ties_at_the_edge_of_top_k_go_to_the_lowest_ids():
    assert [hits > 0 for hits in counts(torch.zeros(6), 600, temperature=1.0, top_k=2)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_rows_are_independent():
    logits = torch.stack([logits_of(300, seed=i) for i in range(6)])
    uniform = torch.rand(6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    for options in ({}, {"top_p": 0.8}):
        together = draw(logits, uniform, temperature=0.7, **options)
        for i in range(6):
            row = draw(logits[i : i + 1], uniform[i : i + 1], temperature=0.7, **options)
            assert together[0][i] == row[0][0]
            torch.testing.assert_close(together[1][i], row[1][0])


def test_half_precision_logits_and_other_blocks(monkeypatch):
    logits = logits_of(300, seed=5).bfloat16()
    grid = torch.linspace(0, 0.999, 400, dtype=torch.float64)
    want = draw(logits.float().expand(400, -1), grid, temperature=1.0)
    got = draw(logits.expand(400, -1), grid, temperature=1.0)
    assert torch.equal(got[0], want[0])
    assert got[1].dtype == torch.float32
    monkeypatch.setattr(sampling, "BLOCK", 7)
    assert torch.equal(draw(logits.expand(400, -1), grid, temperature=1.0)[0], want[0])

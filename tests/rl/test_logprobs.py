import math

import pytest
import torch

from aha.rl.logprobs import token_logprobs


def slow(logits, token_ids, temperature):
    """Softmax written out, row by row, in Python floats."""
    logps, entropies = [], []
    for row, token in zip(logits, token_ids, strict=True):
        weights = [math.exp(x / temperature) for x in row]
        shares = [w / sum(weights) for w in weights]
        logps.append(math.log(shares[token]))
        entropies.append(-sum(p * math.log(p) for p in shares))
    return logps, entropies


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_equals_a_softmax_written_out(temperature):
    logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(0)) * 3
    token_ids = torch.tensor([0, 10, 3, 3, 5, 9, 1])
    logp, entropy = token_logprobs(logits, token_ids, temperature=temperature)
    want_logp, want_entropy = slow(logits.tolist(), token_ids.tolist(), temperature)
    torch.testing.assert_close(logp, torch.tensor(want_logp), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy, torch.tensor(want_entropy), atol=5e-5, rtol=1e-4)


def test_two_tokens_by_hand():
    # odds 3 : 1 at temperature 1; at temperature 1/2 they square to 9 : 1
    logits = torch.tensor([[math.log(3.0), 0.0]])
    logp, entropy = token_logprobs(logits, torch.tensor([0]))
    assert math.isclose(logp.item(), math.log(0.75), rel_tol=1e-6)
    want = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert math.isclose(entropy.item(), want, rel_tol=1e-6)
    cold, _ = token_logprobs(logits, torch.tensor([1]), temperature=0.5)
    assert math.isclose(cold.item(), math.log(0.1), rel_tol=1e-6)


def test_equal_logits_have_the_entropy_of_a_fair_die():
    logp, entropy = token_logprobs(torch.zeros(2, 6), torch.tensor([0, 5]))
    torch.testing.assert_close(logp, torch.full((2,), -math.log(6)))
    torch.testing.assert_close(entropy, torch.full((2,), math.log(6)))


def test_huge_logits_do_not_overflow():
    logp, entropy = token_logprobs(torch.tensor([[3e4, 0.0], [-3e4, 0.0]]), torch.tensor([0, 0]))
    assert logp.tolist() == [0.0, -3e4]
    assert entropy.tolist() == [0.0, 0.0]


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    token_ids = torch.tensor([1, 2, 3, 4])
    logp, entropy = token_logprobs(logits, token_ids, temperature=0.7)
    assert logp.dtype == entropy.dtype == torch.float32
    want, _ = slow(logits.double().tolist(), token_ids.tolist(), 0.7)
    torch.testing.assert_close(logp, torch.tensor(want), atol=1e-5, rtol=1e-5)


def test_gradient_is_one_hot_minus_softmax():
    # d log p_k / d z_j = (1[j = k] - p_j) / temperature
    logits = torch.tensor([[math.log(2.0), 0.0, 0.0]], requires_grad=True)
    logp, entropy = token_logprobs(logits, torch.tensor([0]))
    assert not entropy.requires_grad
    logp.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5, -0.25, -0.25]]))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_greedy_is_refused(temperature):
    with pytest.raises(ValueError, match="above 0"):
        token_logprobs(torch.zeros(1, 2), torch.tensor([0]), temperature=temperature)


def test_nothing_scored_gives_nothing():
    logp, entropy = token_logprobs(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))
    assert logp.shape == entropy.shape == (0,)

"""The mismatch of stored answers on a policy: 0 on the sampler's weights, the slow form elsewhere."""

import pytest
import tiny

from aha.train.mismatch import StoredTokens, measure

ANSWERS = [((5, 6, 7), (8, 9, 1)), ((11,), (12, 1)), ((20, 21), (24, 25, 26, 1))]


def sampled(temperatures, seed=5):
    """Answers with the log-probabilities of a model, one whole forward pass each."""
    model = tiny.fresh(seed=seed).causal
    return [
        StoredTokens(
            id=str(number),
            prompt_ids=prompt,
            token_ids=answer,
            logprobs=tuple(tiny.slow_logprobs(model, prompt, answer, warmth).tolist()),
            temperature=warmth,
        )
        for number, ((prompt, answer), warmth) in enumerate(zip(ANSWERS, temperatures, strict=True))
    ]


@pytest.mark.parametrize("temperatures", [(1.0, 1.0, 1.0), (0.7, 1.0, 0.7)])
@pytest.mark.parametrize("budget", [1, 12, 1000])
def test_on_the_sampler_itself_nothing_is_off(temperatures, budget):
    """With two temperatures only if each answer is measured at its own."""
    found = measure(tiny.fresh(), sampled(temperatures), budget=budget)
    assert (found.answers, found.tokens, found.outside_share) == (3, 9, 0)
    assert found.mean_log_ratio == pytest.approx(0, abs=1e-5)
    assert found.ess_share == pytest.approx(1, abs=1e-4)


def test_on_another_model_it_is_that_of_single_passes():
    samples = sampled((0.7, 1.0, 0.7), seed=6)
    policy = tiny.fresh()
    ratios = [
        tiny.slow_logprobs(policy.causal, one.prompt_ids, one.token_ids, one.temperature)[t].item()
        - one.logprobs[t]
        for one in samples
        for t in range(len(one.token_ids))
    ]
    found = measure(policy, samples, budget=12)
    assert found.mean_log_ratio == pytest.approx(sum(ratios) / len(ratios), rel=1e-4)
    assert found.ess_share < 0.99
    assert found.outside_share > 0

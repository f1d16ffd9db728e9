"""The compiled path of the engine against tensor operations and the model's own forward."""

import pytest
import tiny
import torch
from train.small_policies import lora

pytest.importorskip("numba")
from aha.models.adapters import merged
from aha.rollout.engine import SamplingParams
from aha.rollout.local import cache as cache_module
from aha.rollout.local import decoder
from aha.rollout.local import engine as module

PROMPTS = {"a": [5, 6, 7], "b": [8], "c": list(range(11, 40)), "d": [40, 41]}
DRAWN = SamplingParams(max_tokens=24, temperature=0.9, stream=(1, "native"))


def submit_all(engine, n=5):
    for prompt_id, ids in PROMPTS.items():
        engine.submit(prompt_id, ids, n, DRAWN)


@pytest.fixture
def tensor_operations(monkeypatch):
    """Call it to switch the compiled kernels off."""

    def switch():
        monkeypatch.setattr(module, "NATIVE", False)
        monkeypatch.setattr(cache_module, "NATIVE", False)
        monkeypatch.setattr("aha.rollout.local.sampling.AVAILABLE", False)

    return switch


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_same_answers_as_tensor_operations(architecture, new_engine, drain, tensor_operations):
    native = new_engine(architecture, max_rows=7)
    submit_all(native)
    got = drain(native)
    assert native._decoder
    tensor_operations()
    plain = new_engine(architecture, max_rows=7)
    submit_all(plain)
    want = drain(plain)
    assert not plain._decoder
    assert got.keys() == want.keys()
    for name, rollout in want.items():
        assert got[name].token_ids == rollout.token_ids, name
        assert got[name].logprobs == pytest.approx(rollout.logprobs, abs=1e-5)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_bfloat16_log_probabilities_are_those_of_a_forward_pass(architecture, new_engine, drain):
    if architecture.startswith("deepseek"):
        policy = tiny.fresh(architecture, dtype=torch.bfloat16, num_experts_per_tok=4)
    else:
        policy = tiny.fresh(architecture, dtype=torch.bfloat16)
    engine = new_engine(policy)
    submit_all(engine, n=8)
    rollouts = list(drain(engine).values())
    assert engine._shape.dtype == torch.bfloat16  # keys and values are not widened
    scores = engine.score([PROMPTS[r.prompt_id] for r in rollouts], [r.token_ids for r in rollouts])
    exact = [
        tiny.slow_logprobs(policy.model.float(), PROMPTS[r.prompt_id], r.token_ids, 0.9)
        for r in rollouts
    ]
    engine_gap = torch.cat([torch.tensor(r.logprobs) for r in rollouts]) - torch.cat(exact)
    assert engine_gap.abs().mean() < 0.05
    assert len(scores) == len(rollouts)


def test_adapters_are_merged_or_the_slow_path_is_taken(new_engine, drain):
    policy = lora()
    assert decoder.of(policy) is None
    outside = new_engine(policy)
    submit_all(outside)
    want = drain(outside)
    assert outside._decoder is False
    inside = new_engine(policy)
    submit_all(inside)
    with merged(policy):
        got = drain(inside)
    assert inside._decoder
    for name, rollout in want.items():
        assert got[name].token_ids == rollout.token_ids
        assert got[name].logprobs == pytest.approx(rollout.logprobs, abs=1e-5)


def test_new_weights_count_after_load(new_engine, drain):
    policy = tiny.fresh("llama")
    engine = new_engine(policy)
    submit_all(engine)
    before = drain(engine)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(0.7)
    engine.load(1)
    submit_all(engine)
    got = drain(engine)
    fresh = new_engine(policy)
    submit_all(fresh)
    want = drain(fresh)
    assert {n: r.token_ids for n, r in got.items()} == {n: r.token_ids for n, r in want.items()}
    assert {n: r.token_ids for n, r in got.items()} != {n: r.token_ids for n, r in before.items()}


def test_rest_gives_memory_back_and_changes_nothing(new_engine, drain):
    engine = new_engine()
    submit_all(engine)
    before = drain(engine)
    assert engine._cache is not None
    engine.rest()
    assert engine._cache is None
    assert engine._decoder is None
    submit_all(engine)
    engine.step()
    engine.rest()  # answers are live: nothing may go
    assert engine._cache is not None
    got = drain(engine)
    assert all(before[name].token_ids == rollout.token_ids for name, rollout in got.items())


@pytest.mark.parametrize("architecture", ["llama", "deepseek_v3"])
def test_partly_rotated_heads_take_the_slow_path(architecture):
    policy = tiny.fresh(architecture)
    assert decoder.of(policy) is not None
    policy.causal.get_decoder().rotary_emb.inv_freq = torch.ones(3)
    assert decoder.of(policy) is None


MORE_LATENT = {
    "queries through a latent": {"q_lora_rank": 12},
    "groups of experts": {"n_routed_experts": 8, "n_group": 4, "topk_group": 2},
    "halves instead of pairs": {"rope_interleave": False},
    "weights as they are": {"norm_topk_prob": False, "routed_scaling_factor": 2.5},
    "every expert": {"num_experts_per_tok": 4},
    "no dense block": {"first_k_dense_replace": 0},
}


@pytest.mark.parametrize("name", MORE_LATENT)
def test_kinds_of_latent_models(name, new_engine, drain, tensor_operations):
    policy = tiny.fresh("deepseek_v3_narrow", **MORE_LATENT[name])
    for part in policy.modules():
        if hasattr(part, "e_score_correction_bias"):
            part.e_score_correction_bias.copy_(torch.linspace(-0.2, 0.3, part.num_experts))
    native = new_engine(policy, max_rows=7)
    submit_all(native)
    got = drain(native)
    assert native._decoder
    tensor_operations()
    plain = new_engine(policy, max_rows=7)
    submit_all(plain)
    for key, rollout in drain(plain).items():
        assert got[key].token_ids == rollout.token_ids, key
        assert got[key].logprobs == pytest.approx(rollout.logprobs, abs=1e-5)

"""Merged decoding computes the same function, and leaves not a bit behind."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from aha.models.adapters import merged
from aha.models.attention import register
from aha.models.policy import Policy, pack

peft = pytest.importorskip("peft")


def adapted(dtype: torch.dtype) -> Policy:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation=register()).to(dtype)
    made = peft.get_peft_model(
        model,
        peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, parameter in made.named_parameters():
        if "lora_B" in name:  # B starts at 0: give the adapter something to say
            parameter.data = torch.randn_like(parameter.data) * 0.1
    return Policy(made).eval()


def logprobs(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy(pack([[1, 2, 3]], [[[4, 5, 6], [7, 8]]]))[0]


def test_merged_weights_compute_base_plus_adapter():
    policy = adapted(torch.float32)
    live = logprobs(policy)
    with merged(policy):
        together = logprobs(policy)
        base = policy.causal.model.layers[0].self_attn.q_proj.get_base_layer().weight
        assert base.requires_grad is False
    assert (live - together).abs().max() < 1e-5
    with policy.model.disable_adapter():
        assert (live - logprobs(policy)).abs().max() > 1e-2  # the adapter does matter


def test_many_phases_do_not_drift_in_bfloat16():
    policy = adapted(torch.bfloat16)
    before = {n: p.detach().clone() for n, p in policy.named_parameters()}
    first = logprobs(policy)
    for _ in range(50):
        with merged(policy):
            pass
    after = dict(policy.named_parameters())
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert torch.equal(first, logprobs(policy))


def test_the_base_comes_back_after_an_error():
    policy = adapted(torch.float32)
    first = logprobs(policy)
    with pytest.raises(RuntimeError, match="boom"), merged(policy):
        raise RuntimeError("boom")
    assert torch.equal(first, logprobs(policy))

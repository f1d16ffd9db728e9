"""Random two-layer models of each architecture, and slow references that know no engine.

The weights are larger than a fresh model's, biases and norms are not trivial: a mistake in who sees
whom then moves the logits by far more than rounding does.
"""

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aha.models.attention import register
from aha.models.policy import Policy

VOCAB = 97
ARCHITECTURES = ("llama", "qwen2", "qwen3", "deepseek_v3", "deepseek_v3_narrow")
"""narrow: value heads narrower than keys (8 of 12), as in the published DeepSeek-V3."""
_COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.25,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_MLA = _COMMON | {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": None,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
}


def described(name: str, **changes: object) -> tuple[Any, Any]:
    """Class and configuration of a model; qwen2 has one matrix for embedding and head."""
    import transformers as tf

    config, cls = {
        "llama": (tf.LlamaConfig, tf.LlamaForCausalLM),
        "qwen2": (tf.Qwen2Config, tf.Qwen2ForCausalLM),
        "qwen3": (tf.Qwen3Config, tf.Qwen3ForCausalLM),
        "deepseek_v3": (tf.DeepseekV3Config, tf.DeepseekV3ForCausalLM),
        "deepseek_v3_narrow": (tf.DeepseekV3Config, tf.DeepseekV3ForCausalLM),
        "granite": (tf.GraniteConfig, tf.GraniteForCausalLM),
        "gemma2": (tf.Gemma2Config, tf.Gemma2ForCausalLM),
        "mistral": (tf.MistralConfig, tf.MistralForCausalLM),
    }[name]
    sizes = dict(_MLA if name.startswith("deepseek") else _COMMON)
    if name.startswith("deepseek"):
        sizes["v_head_dim"] = 8 if name.endswith("narrow") else 12
    if name in ("qwen3", "gemma2"):
        sizes["head_dim"] = 8
    return cls, config(**sizes | {"tie_word_embeddings": name == "qwen2"} | changes)


def build(name: str, *, seed: int = 5, **changes: object) -> nn.Module:
    """A fresh model, float32, whose attention is the layout function. Same arguments: same weights."""
    cls, config = described(name, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = cls._from_config(config, attn_implementation=register())
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return model.float().eval()


def fresh(
    name: str = "llama", *, seed: int = 5, dtype: torch.dtype = torch.float32, **changes: object
) -> Policy:
    """A policy of one's own, to be trained."""
    return Policy(build(name, seed=seed, **changes).to(dtype))


@functools.cache
def policy(name: str) -> Policy:
    """Shared between tests: do not change its weights."""
    return Policy(build(name))


@contextlib.contextmanager
def plain(model: nn.Module) -> Iterator[nn.Module]:
    """The model with the attention that transformers ships."""
    own = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    try:
        yield model
    finally:
        model.set_attn_implementation(own)


def slow_logprobs(
    model: nn.Module, prompt: Sequence[int], answer: Sequence[int], temperature: float = 1.0
) -> Tensor:
    """[len(answer)] log-probabilities from a whole forward pass of one sequence, with gradient."""
    with plain(model):
        logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
    rows = torch.log_softmax(logits.double() / temperature, -1)[len(prompt) - 1 : -1]
    return rows[torch.arange(len(answer)), torch.tensor(answer, dtype=torch.long)]


def slow_uniform(name: tuple[object, ...], counter: int) -> float:
    """SplitMix64 on Python integers, keyed by blake2b of the name's repr."""
    mask = 2**64 - 1
    state = int.from_bytes(hashlib.blake2b(repr(name).encode(), digest_size=8).digest(), "little")
    z = (state + (counter + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    z ^= z >> 31
    return (z >> 11) / 2**53


@torch.no_grad()
def slow_answer(
    model: nn.Module,
    prompt: Sequence[int],
    name: tuple[object, ...],
    *,
    cap: int,
    temperature: float,
    eos: Sequence[int],
) -> list[int]:
    """Sample one answer: the whole forward pass again for each token, plain inverse of the CDF."""
    answer: list[int] = []
    with plain(model):
        while len(answer) < cap and not (answer and answer[-1] in eos):
            ids = torch.tensor([[*prompt, *answer]])
            logits = model(input_ids=ids, use_cache=False).logits[0, -1].double()
            shares = torch.softmax(logits / temperature, -1).tolist()
            goal, sum_, token = slow_uniform(name, len(answer)), 0.0, 0
            for token, share in enumerate(shares):  # noqa: B007
                sum_ += share
                if sum_ > goal:
                    break
            answer.append(token)
    return answer


@torch.no_grad()
def edge(
    model: nn.Module,
    prompt: Sequence[int],
    answer: Sequence[int],
    name: tuple[object, ...],
    temperature: float,
) -> float:
    """How near the uniform of the next token is to a border between two tokens.

    Sums in another order move the borders by some 1e-7, so within that either token may come.
    """
    with plain(model):
        logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0, -1]
    borders = torch.softmax(logits.double() / temperature, -1).cumsum(-1)
    return float((borders - slow_uniform(name, len(answer))).abs().min())

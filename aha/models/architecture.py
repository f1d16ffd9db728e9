"""The models of the package: a DeepSeek-V3 at a size for two CPU cores, and two students.

    architecture   the transformers config of a `PretrainConfig`
    build          the model, from random weights
    Balance        what the routers did in a forward pass: load, sequence loss, bias step

The students (Qwen2, Llama) are of the families that the paper distils into. The base has multi-head
latent attention, one dense block, then mixtures of experts with one shared expert and sigmoid
routing. Left out of the paper's base model: multi-token prediction, YaRN, groups of experts
(n_group = 1), low-rank queries. Value heads are as wide as query heads, so that one attention
kernel serves all.

transformers has neither of the two balancing rules of DeepSeek-V3 (its section 2.1.2), so they are
here, hooked to the router modules: the bias step (loss-free balancing) and the sequence-wise loss.

Not covered: routers of other mixture-of-experts families; training them as they are.
"""

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen2Config,
)
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from aha.config import PretrainConfig
from aha.errors import ConfigError

EXPERTS = "grouped_mm"
"""How expert matrices are multiplied. transformers' batched_mm copies an expert for each token and
is more than ten times slower on a CPU."""


def architecture(config: PretrainConfig, *, pad: int, eos: int) -> PretrainedConfig:
    """The transformers config. `pad` and `eos` are token ids.

    Raises:
        ConfigError: widths that do not fit together.
    """
    if config.hidden % config.heads:
        raise ConfigError(
            f"pretrain.hidden={config.hidden} is not a multiple of pretrain.heads={config.heads}; "
            "change one of them"
        )
    head = config.hidden // config.heads
    if head % 4:
        raise ConfigError(
            f"pretrain: a head is hidden / heads = {head} wide; it must be a multiple of 4 "
            "(half of it is rotated in pairs)"
        )
    common: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.dense_width,
        "max_position_embeddings": 4096,
        "initializer_range": 0.05,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "bos_token_id": None,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "use_cache": True,
    }
    if config.architecture == "deepseek_v3":
        return _deepseek_v3(config, head, common)
    return _dense(config, common)


def _deepseek_v3(config: PretrainConfig, head: int, common: dict[str, Any]) -> PretrainedConfig:
    if config.experts_per_token > config.experts:
        raise ConfigError(
            f"pretrain.experts_per_token={config.experts_per_token} is above "
            f"pretrain.experts={config.experts}"
        )
    if config.kv_heads:
        raise ConfigError("pretrain.kv_heads is for qwen2 and llama; deepseek_v3 has none")
    return DeepseekV3Config(
        **common,
        first_k_dense_replace=1,
        num_key_value_heads=config.heads,
        q_lora_rank=None,
        kv_lora_rank=config.hidden // 2,
        qk_nope_head_dim=head // 2,
        qk_rope_head_dim=head // 2,
        v_head_dim=head,
        moe_intermediate_size=config.expert_width,
        n_routed_experts=config.experts,
        num_experts_per_tok=config.experts_per_token,
        n_shared_experts=1,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.0,
        num_mtp_layers=0,
    )


def _dense(config: PretrainConfig, common: dict[str, Any]) -> PretrainedConfig:
    kv_heads = config.kv_heads or config.heads
    if config.heads % kv_heads:
        raise ConfigError(
            f"pretrain.heads={config.heads} is not a multiple of pretrain.kv_heads={kv_heads}"
        )
    kind = Qwen2Config if config.architecture == "qwen2" else LlamaConfig
    return kind(**common, num_key_value_heads=kv_heads)


def build(config: PretrainConfig, *, seed: int, pad: int, eos: int) -> Any:
    """A float32 model with random weights; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = architecture(config, pad=pad, eos=eos)
        shape._attn_implementation = "sdpa"
        if config.architecture == "deepseek_v3":
            shape._experts_implementation = EXPERTS
        return AutoModelForCausalLM.from_config(shape).float()


class Balance:
    """Watches the routers of a model while it is entered.

    Call `loss(rows)` after a forward pass, `step(rate)` after an optimizer step. Both read what
    the passes since the last `step` left.
    """

    def __init__(self, model: nn.Module) -> None:
        self.routers = [m for m in model.modules() if isinstance(m, DeepseekV3TopkRouter)]
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._load = [torch.zeros(router.num_experts) for router in self.routers]
        self._handles: list[Any] = []

    def __enter__(self) -> "Balance":
        for number, router in enumerate(self.routers):
            self._handles.append(router.register_forward_hook(self._watch(number)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen.clear()

    def _watch(self, number: int) -> Any:
        def hook(router: nn.Module, given: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
            logits, _, chosen = output
            count = torch.bincount(chosen.flatten(), minlength=logits.shape[-1])
            self._load[number] += count.to(self._load[number])
            self._seen.append((logits, chosen))

        return hook

    def loss(self, rows: int) -> Tensor:
        """Sequence-wise balance loss of the passes since the last call, summed over the routers.

        DeepSeek-V3 Eq. 17-20 without alpha: sum_i f_i P_i for each of the `rows` sequences of the
        batch, mean over sequences. f_i is the expert's share of the choices times the number of
        experts, P_i its mean normalised affinity; even use gives 1 for each router.
        """
        total = torch.zeros(())
        for logits, chosen in self._seen:
            experts, k = logits.shape[-1], chosen.shape[-1]
            affinity = logits.sigmoid()
            share = (affinity / affinity.sum(-1, keepdim=True)).view(rows, -1, experts).mean(1)
            picks = torch.zeros_like(logits).scatter_(1, chosen, 1.0).view(rows, -1, experts)
            total = total + (picks.mean(1) * (experts / k) * share).sum(-1).mean()
        self._seen.clear()
        return total

    def load(self) -> Tensor:
        """[routers, experts]: choices of each expert relative to the mean; 1 is even use."""
        if not self.routers:
            return torch.ones(1, 1)
        counts = torch.stack(self._load)
        return counts / counts.mean(-1, keepdim=True).clamp(min=1e-9)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move each bias by `rate` towards even load (DeepSeek-V3, 2.1.2); forget the counts."""
        for router, count in zip(self.routers, self._load, strict=True):
            if rate:
                router.e_score_correction_bias += rate * torch.sign(count.mean() - count)
            count.zero_()

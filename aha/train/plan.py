"""What a recipe needs on this machine, resolved once and stored in the run.

Memory by part, micro-batch tokens, key/value budget, threads. The schedule of a run depends on these
numbers, so a resumed run takes them from its folder and never measures again.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from aha.config import Recipe, SftConfig, ZeroConfig
from aha.errors import DoesNotFit
from aha.rollout.local.cache import MIN_ROWS, NATIVE, kept_dtype
from aha.rollout.local.engine import PLACES
from aha.train.memory import available_memory

MICRO_TOKENS = (512, 1536)
"""Smallest and largest micro-batch worth having: beyond it products do not get faster."""
SMALL_MICRO_TOKENS = 4096
"""Largest micro-batch of a model below SMALL parameters, where calls cost more than products."""
SAMPLING = ("packed weights", "keys and values")
UPDATING = ("activations", "head", "kept logits")
"""Parts that exist in one half of a step only; the others always do."""
PROGRAM_BYTES = 500_000_000
"""Python, torch, transformers, tokenizer and data of one process."""
HEADROOM = 0.85
"""Share of the memory that the plan may use."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Numbers that the schedule and the rounding depend on."""

    threads: int
    dtype: str
    memory_bytes: int
    kv_bytes: int
    max_rows: int
    micro_tokens: int
    kept_logits: int = 0
    """Bytes of logits that the update keeps instead of computing them twice; changes no number."""


@dataclass(frozen=True, slots=True)
class Plan:
    parameters: int
    parts: dict[str, int]
    """Bytes by part; see SAMPLING and UPDATING."""
    resolved: Resolved
    rollout_tokens: int
    """Answer tokens in one step, at most."""
    checkpoint_bytes: int
    rollout_s: float | None = None
    update_s: float | None = None
    """Seconds of the halves of a step in which everything is as long as it may be, if measured; 0 for a
    half that the stage does not have."""

    @property
    def total(self) -> int:
        """Bytes at the peak: what always exists, and the larger half."""
        halves = [sum(self.parts.get(name, 0) for name in half) for half in (SAMPLING, UPDATING)]
        return sum(self.parts.values()) - min(halves)

    @property
    def step_s(self) -> float | None:
        if self.rollout_s is None or self.update_s is None:
            return None
        return self.rollout_s + self.update_s

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total_bytes": self.total, "step_s": self.step_s}


def make(
    recipe: Recipe,
    config: ZeroConfig,
    model: Any,
    *,
    timed: bool = False,
    others: Mapping[str, Any] | None = None,
) -> Plan:
    """Plan an RL stage.

    Args:
        model: its folder, or the transformers configuration of one that is not made yet.
        timed: also measure how long a step takes here (seconds; see speed.py).
        others: transformers configurations of reward models that are not made yet, by their path.

    Raises:
        DoesNotFit: even the smallest schedule is over the memory; says which part and what to change.
        ModelError: the model's configuration cannot be read.
    """
    from aha.models.load import DTYPES

    it = _machine(recipe, model)
    parameters, size = it.parameters, it.size
    parts = dict(it.parts)
    if config.kl_coef and not recipe.model.lora_rank:
        parts["reference"] = parameters * size
    if config.reward_models:
        paths = [asked.path for asked in config.reward_models.values()]
        parts["reward models"] = reward_model_bytes(paths, others or {})
    always = sum(parts.values())
    prompt, answer = recipe.data.max_prompt_tokens, config.max_answer_tokens
    if size == 2 and it.native:
        parts["packed weights"] = parameters * size

    token_bytes = kv_token_bytes(it.text, kept_dtype(DTYPES[it.dtype], it.where).itemsize)
    decoded = max(answer, config.eval.max_answer_tokens)
    least_kv = (9 * decoded + prompt) * token_bytes  # one answer, and the engine's spare rows
    to_sample = it.room - always - parts.get("packed weights", 0)
    if to_sample < least_kv:
        raise DoesNotFit(_why(parts, least_kv, it.room, recipe, prompt + answer))
    micro, kept = _update_half(recipe, it, parts, it.room - always, prompt + answer)
    wanted_rows = config.prompts_per_step * config.minibatches * config.group_size
    rows = min(256, wanted_rows)
    places = min(wanted_rows // config.group_size, PLACES * rows // config.group_size + 1)
    kv = min(((rows + MIN_ROWS) * decoded + places * prompt) * token_bytes, to_sample)
    parts["keys and values"] = kv
    resolved = Resolved(
        threads=recipe.threads or os.cpu_count() or 1,
        dtype=it.dtype,
        memory_bytes=it.memory,
        kv_bytes=kv,
        max_rows=rows,
        micro_tokens=micro,
        kept_logits=kept,
    )
    seconds: dict[str, float] = {}
    if timed and it.where.type == "cpu":
        from aha.train import speed

        found = speed.measure(recipe, config, it.described, resolved)
        seconds = {"rollout_s": found.rollout_s, "update_s": found.update_s}
    references = parts.get("reference", 0)
    return Plan(
        parameters=parameters,
        parts=parts,
        resolved=resolved,
        rollout_tokens=config.prompts_per_step * config.group_size * answer,
        checkpoint_bytes=parameters * size + it.trained * 12 + references,
        **seconds,
    )


def make_supervised(
    recipe: Recipe,
    config: SftConfig,
    model: Any,
    *,
    example: tuple[int, int] | None = None,
) -> Plan:
    """Plan a supervised stage.

    Args:
        model: its folder, or the transformers configuration of one that is not made yet.
        example: tokens of a prompt and of its answer; measures how long a step of such examples takes
            here (CPU; seconds).

    Raises:
        DoesNotFit: not even one example of `max_tokens` fits the memory.
        ModelError: the model's configuration cannot be read.
    """
    it = _machine(recipe, model)
    parts = dict(it.parts)
    micro, kept = _update_half(
        recipe, it, parts, it.room - sum(parts.values()), config.max_tokens, key="sft.max_tokens"
    )
    resolved = Resolved(
        threads=recipe.threads or os.cpu_count() or 1,
        dtype=it.dtype,
        memory_bytes=it.memory,
        kv_bytes=0,
        max_rows=0,
        micro_tokens=micro,
        kept_logits=kept,
    )
    seconds: dict[str, float] = {}
    if example is not None and it.where.type == "cpu":
        from aha.train import speed

        prompt, answer = example
        work = speed.Work(
            prompt=prompt, answer=answer, group=1, answers=0, trees=micro, optim=config.optim
        )
        token, optimizer = speed.updating(recipe, work, it.described, resolved)
        tokens = config.examples_per_step * (prompt + answer)
        seconds = {"rollout_s": 0.0, "update_s": tokens * token + optimizer}
    return Plan(
        parameters=it.parameters,
        parts=parts,
        resolved=resolved,
        rollout_tokens=0,
        checkpoint_bytes=it.parameters * it.size + it.trained * 12,
        **seconds,
    )


@dataclass(frozen=True)
class _Machine:
    """A model on this machine: what is always in memory, and what there is."""

    described: Any
    text: Any
    parameters: int
    trained: int
    dtype: str
    size: int
    where: torch.device
    memory: int
    room: int
    native: bool
    parts: dict[str, int]


def _machine(recipe: Recipe, model: Any) -> _Machine:
    """`model`: a folder, or a transformers configuration."""
    from aha.models.load import DTYPES, count_parameters, describe, resolve_device, resolve_dtype

    described = describe(model) if isinstance(model, Path) else model
    text = described.get_text_config()
    parameters = count_parameters(described)
    dtype = resolve_dtype(recipe.model.dtype, described, recipe.model.device)
    size = DTYPES[dtype].itemsize
    where = resolve_device(recipe.model.device)
    memory = int(recipe.memory_gb * 1e9) if recipe.memory_gb else available_memory(where.type)
    trained = _trained(recipe, text, parameters)
    each = 16 if recipe.model.lora_rank or size == 2 else 12
    parts = {"weights": parameters * size, "optimizer": trained * each, "program": PROGRAM_BYTES}
    return _Machine(
        described=described,
        text=text,
        parameters=parameters,
        trained=trained,
        dtype=dtype,
        size=size,
        where=where,
        memory=memory,
        room=int(memory * HEADROOM),
        native=NATIVE and where.type == "cpu",
        parts=parts,
    )


def _update_half(
    recipe: Recipe,
    it: _Machine,
    parts: dict[str, int],
    room: int,
    longest: int,
    *,
    key: str = "max_answer_tokens or data.max_prompt_tokens",
) -> tuple[int, int]:
    """(tokens of a micro-batch, bytes of kept logits) for an update in `room` bytes; adds its parts.

    Raises:
        DoesNotFit: one sequence of `longest` tokens is too much; `key` is what to lower.
    """
    from aha.models import fused
    from aha.models.load import SMALL
    from aha.models.policy import CHUNK_BYTES, KEPT_LOGITS

    text, size = it.text, it.size
    per_token = activation_bytes(
        text,
        size,
        checkpointing=recipe.model.gradient_checkpointing,
        fused=it.native,
        adapters=bool(recipe.model.lora_rank),
    )
    row = text.vocab_size * size  # logits of one token
    slopes = 3 * text.vocab_size * text.hidden_size * size  # of the head's weight, and its parts
    chunk = max(fused.CHUNK_BYTES, row) if it.native else 6 * max(CHUNK_BYTES, 4 * text.vocab_size)
    most = SMALL_MICRO_TOKENS if it.parameters < SMALL else MICRO_TOKENS[1]
    parts["head"] = slopes + min(chunk, max(most, longest) * row * (1 if it.native else 6))
    left = room - parts["head"]
    smallest = max(MICRO_TOKENS[0], longest) * per_token
    if left < smallest:
        raise DoesNotFit(_why(parts, smallest, it.room, recipe, longest, key))
    micro = int(min(max(most, longest), left / per_token))
    parts["activations"] = micro * per_token
    kept = min(KEPT_LOGITS, micro * row, left - parts["activations"]) if it.native else 0
    if kept:
        parts["kept logits"] = kept
    return micro, kept


def reward_model_bytes(paths: Sequence[str], others: Mapping[str, Any]) -> int:
    """Bytes of the weights of reward models, which score in float32.

    Args:
        others: transformers configurations of those that are not made yet, by their path.

    Raises:
        ModelError: one cannot be found or read.
    """
    from aha.models.load import count_parameters, describe
    from aha.models.locate import locate

    described = [others[path] if path in others else describe(locate(path)) for path in paths]
    return sum(4 * count_parameters(each) for each in described)


def kv_token_bytes(text: Any, size: int) -> int:
    """Bytes of keys and values of one token. MLA is kept expanded, values padded to key width."""
    if getattr(text, "kv_lora_rank", None):
        heads, width = text.num_attention_heads, text.qk_nope_head_dim + text.qk_rope_head_dim
    else:
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * width * size


def activation_bytes(
    text: Any, size: int, *, checkpointing: bool, fused: bool, adapters: bool = False
) -> int:
    """Bytes kept for the backward pass per token of a micro-batch (attention scores are not kept).

    Args:
        fused: norms and gated MLPs are one autograd step each (models/fused.py).
        adapters: LoRA beside every projection; it casts their inputs and outputs to float32.
    """
    hidden = text.hidden_size
    width = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    inner = text.intermediate_size
    routed = getattr(text, "num_experts_per_tok", 0) or 0
    if latent := getattr(text, "kv_lora_rank", None):
        width = text.qk_nope_head_dim + text.qk_rope_head_dim
    attention, keys = text.num_attention_heads * width, heads * width
    # inputs and outputs of two norms; queries, keys, values padded to rows, answer, answer in order
    layer = 4 * hidden + 3 * attention + 3 * keys
    if latent:
        layer += 4 * attention + 2 * latent
    if routed:
        inner = getattr(text, "moe_intermediate_size", inner)
        layer += routed * (5 * inner + 3 * hidden) + 2 * hidden
    layer += 3 * inner
    if not fused:
        layer += 6 * hidden + 2 * inner + 2 * attention  # norms in float32, parts of the gate
    if adapters:
        layer += 4 // size * (5 * hidden + attention + inner)
    if checkpointing:
        return size * (text.num_hidden_layers * hidden + 2 * layer)
    return size * text.num_hidden_layers * layer


def _trained(recipe: Recipe, text: Any, parameters: int) -> int:
    if not recipe.model.lora_rank:
        return parameters
    inner = 3 * (text.hidden_size + text.intermediate_size) + 8 * text.hidden_size
    return text.num_hidden_layers * recipe.model.lora_rank * inner


def _why(
    parts: dict[str, int],
    smallest: int,
    room: int,
    recipe: Recipe,
    longest: int,
    key: str = "max_answer_tokens or data.max_prompt_tokens",
) -> str:
    shown = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in parts.items())
    advice = [f"{key} lower"]
    if not recipe.model.lora_rank:
        advice.insert(0, "model.lora_rank=16")
    if "reference" in parts:
        advice.append("zero.kl_coef=0 (no reference)")
    if not recipe.model.gradient_checkpointing:
        advice.append("model.gradient_checkpointing=true")
    return (
        f"does not fit: {shown}, and one sequence of {longest} tokens {smallest / 1e9:.2f} GB; "
        f"{room / 1e9:.2f} GB may be used. Try {', '.join(advice)}"
    )

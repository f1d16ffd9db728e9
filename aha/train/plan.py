"""What a recipe needs on this machine, resolved once and stored in the run.

Memory by part, micro-batch tokens, key/value budget, threads. The schedule of a run depends on these
numbers, so a resumed run takes them from its folder and never measures again.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from aha.config import Recipe, ZeroConfig
from aha.errors import DoesNotFit
from aha.rollout.local.cache import MIN_ROWS, NATIVE, kept_dtype
from aha.rollout.local.engine import PLACES

MICRO_TOKENS = (512, 8192)
"""Smallest and largest micro-batch worth having: beyond it products do not get faster."""
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


@dataclass(frozen=True, slots=True)
class Plan:
    parameters: int
    parts: dict[str, int]
    """Bytes by part at the peak."""
    resolved: Resolved
    rollout_tokens: int
    """Answer tokens in one step, at most."""
    checkpoint_bytes: int

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total_bytes": self.total}


def available_memory() -> int:
    """Bytes free for us now: of the GPU if there is one, else of the machine (or its container)."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    try:
        if limit.exists() and (text := limit.read_text().strip()) != "max":
            free = min(free, int(text) - int(used.read_text()))
    except (OSError, ValueError):
        pass
    return free


def make(recipe: Recipe, config: ZeroConfig, folder: Path, *, questions: int | None = None) -> Plan:
    """Plan an RL stage on the model in `folder`.

    Raises:
        DoesNotFit: even the smallest schedule is over the memory; says which part and what to change.
        ModelError: the model's configuration cannot be read.
    """
    from aha.models.load import DTYPES, count_parameters, describe, resolve_dtype

    described = describe(folder)
    text = described.get_text_config()
    parameters = count_parameters(described)
    dtype = resolve_dtype(recipe.model.dtype, described)
    size = DTYPES[dtype].itemsize
    memory = int(recipe.memory_gb * 1e9) if recipe.memory_gb else available_memory()
    room = int(memory * HEADROOM)

    parts = {"weights": parameters * size}
    trained = _trained(recipe, text, parameters)
    if recipe.model.lora_rank:
        parts["optimizer"] = trained * 16
    else:
        parts["optimizer"] = trained * (12 if size == 4 else 16)
    if config.kl_coef and not recipe.model.lora_rank:
        parts["reference"] = parameters * size
    vocabulary = text.vocab_size
    from aha.models.policy import CHUNK_BYTES

    chunks = 6 * max(CHUNK_BYTES, 4 * vocabulary)  # logits, shares and their gradients
    parts["head"] = chunks + 2 * vocabulary * text.hidden_size * size
    if size == 2 and NATIVE and not torch.cuda.is_available():
        parts["packed weights"] = parameters * size  # while answers are sampled
    parts["program"] = PROGRAM_BYTES
    fixed = sum(parts.values())

    prompt, answer = recipe.data.max_prompt_tokens, config.max_answer_tokens
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    token_bytes = kv_token_bytes(text, kept_dtype(DTYPES[dtype], where).itemsize)
    per_token = activation_bytes(text, size, checkpointing=recipe.model.gradient_checkpointing)
    longest = prompt + answer
    decoded = max(answer, config.eval.max_answer_tokens)
    least_kv = (9 * decoded + prompt) * token_bytes  # one answer, and the engine's spare rows
    smallest = max(MICRO_TOKENS[0], longest) * per_token + least_kv
    left = room - fixed
    if left < smallest:
        raise DoesNotFit(_why(parts, smallest, room, recipe, longest))
    affordable = min(left * 0.5, left - least_kv) / per_token
    micro = int(min(MICRO_TOKENS[1], max(MICRO_TOKENS[0], longest, affordable)))
    parts["activations"] = micro * per_token
    wanted_rows = config.prompts_per_step * config.minibatches * config.group_size
    rows = min(256, wanted_rows)
    places = min(wanted_rows // config.group_size, PLACES * rows // config.group_size + 1)
    wanted_kv = ((rows + MIN_ROWS) * decoded + places * prompt) * token_bytes
    kv = min(wanted_kv, room - sum(parts.values()))
    parts["keys and values"] = kv
    resolved = Resolved(
        threads=recipe.threads or os.cpu_count() or 1,
        dtype=dtype,
        memory_bytes=memory,
        kv_bytes=kv,
        max_rows=rows,
        micro_tokens=micro,
    )
    references = parts.get("reference", 0)
    return Plan(
        parameters=parameters,
        parts=parts,
        resolved=resolved,
        rollout_tokens=config.prompts_per_step * config.group_size * answer,
        checkpoint_bytes=parameters * size + trained * 12 + references,
    )


def kv_token_bytes(text: Any, size: int) -> int:
    """Bytes of keys and values of one token. MLA is kept expanded, values padded to key width."""
    if getattr(text, "kv_lora_rank", None):
        heads, width = text.num_attention_heads, text.qk_nope_head_dim + text.qk_rope_head_dim
    else:
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * width * size


def activation_bytes(text: Any, size: int, *, checkpointing: bool) -> int:
    """Bytes kept for the backward pass per token of a micro-batch (attention scores are not kept)."""
    hidden = text.hidden_size
    width = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    if getattr(text, "kv_lora_rank", None):
        width = text.qk_nope_head_dim + text.qk_rope_head_dim
    inner = text.intermediate_size
    routed = getattr(text, "num_experts_per_tok", 0) or 0
    if routed:
        inner = getattr(text, "moe_intermediate_size", inner) * (routed + 1)
    attention = text.num_attention_heads * width
    layer = 8 * hidden + 8 * attention + 4 * inner  # norms in float32, q k v gathered and padded
    if checkpointing:
        return size * (text.num_hidden_layers * hidden + 2 * layer)
    return size * text.num_hidden_layers * layer


def _trained(recipe: Recipe, text: Any, parameters: int) -> int:
    if not recipe.model.lora_rank:
        return parameters
    inner = 3 * (text.hidden_size + text.intermediate_size) + 8 * text.hidden_size
    return text.num_hidden_layers * recipe.model.lora_rank * inner


def _why(parts: dict[str, int], smallest: int, room: int, recipe: Recipe, longest: int) -> str:
    shown = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in parts.items())
    advice = ["max_answer_tokens or data.max_prompt_tokens lower"]
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

"""A model folder becomes a policy; a policy becomes a model folder.

Safetensors only; remote code never. Tensors are copied after loading: mapped ones may be unaligned,
which changes the rounding of small products.
"""

import logging
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from aha.config import ModelConfig
from aha.errors import ConfigError, ModelError
from aha.models import fused, positions
from aha.models.attention import register
from aha.models.policy import Policy, check_supported

SMALL = 50_000_000
"""Parameters below which float32 is the working dtype: bfloat16 gains nothing there."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Loaded:
    policy: Policy
    tokenizer: Any
    eos_ids: tuple[int, ...]
    """End-of-sequence ids of the generation config and the tokenizer."""
    folder: Path
    dtype: str


def load(folder: Path, config: ModelConfig, *, dtype: str | None = None) -> Loaded:
    """Read model and tokenizer of a checked folder (see locate.py).

    Args:
        dtype: a resolved dtype; None resolves `config.dtype` now.

    Raises:
        ConfigError: positions that this model cannot have.
        ModelError: the folder cannot be read as a causal LM, or the engine does not support it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    described = positions.stretch(describe(folder), config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"{folder} is not a model folder transformers can read: {_short(error)}"
        ) from error
    named = " ".join(described.architectures or ())
    if "ForCausalLM" not in named and "Classification" in named:
        raise ModelError(
            f"{folder} is {named}: it scores text and writes none. Give a model that writes"
        )
    chosen = dtype or resolve_dtype(config.dtype, described, config.device)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            config=described,
            dtype=DTYPES[chosen],
            attn_implementation=register(),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(f"the weights in {folder} cannot be loaded: {_short(error)}") from error
    if absent := sorted(info["missing_keys"]):
        raise ModelError(
            f"{folder} lacks {len(absent)} weights of a model that writes ({absent[0]}); they would be "
            "drawn at random. Give a whole model"
        )
    policy = policy_of(model, config)
    eos: list[int] = []
    try:
        generation = GenerationConfig.from_pretrained(folder)
        ids = generation.eos_token_id
        eos += ids if isinstance(ids, list) else [ids] if ids is not None else []
    except OSError:
        pass
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in eos:
        eos.append(tokenizer.eos_token_id)
    return Loaded(policy, tokenizer, tuple(eos), folder, chosen)


def policy_of(model: Any, config: ModelConfig) -> Policy:
    """A transformers model as the policy that a recipe asks for.

    Raises:
        ModelError: the engine does not support it.
    """
    for name in ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"):
        if getattr(model.config, name, 0):
            setattr(model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
        for buffer in model.buffers():
            buffer.data = buffer.data.clone()
    model.eval().to(resolve_device(config.device))
    fused.install(model)
    policy = Policy(model)
    check_supported(policy)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()  # without this transformers does not checkpoint; every dropout is 0 already
    if config.lora_rank:
        policy = Policy(_with_adapters(model, config))
    return policy


def save(folder: Path, loaded: Loaded) -> None:
    """Write an ordinary model folder: adapters are merged into a copy of the weights."""
    model = loaded.policy.model
    if hasattr(model, "get_base_model"):
        import copy

        model = copy.deepcopy(model).merge_and_unload()  # type: ignore[operator]
    with _attention_named(model, None):
        model.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
    loaded.tokenizer.save_pretrained(folder)


def decoder(tokenizer: Any) -> Any:
    """Token ids -> text, special tokens kept, nothing cleaned up."""

    def decode(ids: Sequence[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    return decode


def describe(folder: Path) -> Any:
    """The transformers configuration of a model folder.

    Raises:
        ModelError: it cannot be read, or its architecture is not known.
    """
    quiet()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"{folder} is not a model folder transformers can read: {_short(error)}"
        ) from error


def resolve_device(wanted: Literal["auto", "cpu", "cuda"] | str) -> torch.device:
    """Where the model lives.

    Raises:
        ConfigError: the recipe wants a GPU and this torch finds none.
    """
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise ConfigError(
            "model.device='cuda', but torch finds no GPU here; use 'auto', or install torch with CUDA"
        )
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


def resolve_dtype(
    wanted: Literal["auto", "float32", "bfloat16"] | str, described: Any, device: str = "auto"
) -> str:
    """The working dtype: what the recipe says, else by size and by what the machine computes fast."""
    if wanted != "auto":
        return wanted
    if count_parameters(described) < SMALL:
        return "float32"
    if resolve_device(device).type == "cuda":
        return "bfloat16"
    return "bfloat16" if _bfloat16_pays() else "float32"


def count_parameters(described: Any) -> int:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(described)
    return sum(p.numel() for p in model.parameters())


def _bfloat16_pays(size: int = 768, rounds: int = 8) -> bool:
    """Is a bfloat16 product faster than a float32 one here? (Without hardware support it is slower.)"""
    took = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(size, size, dtype=dtype)
        best = float("inf")
        for _ in range(rounds):
            start = time.perf_counter()
            torch.mm(a, a)
            best = min(best, time.perf_counter() - start)
        took[dtype] = best
    return took[torch.bfloat16] < took[torch.float32]


def _with_adapters(model: nn.Module, config: ModelConfig) -> nn.Module:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ConfigError("model.lora_rank needs the extra: pip install 'aha[lora]'") from error
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()  # adapters are their own masters
    return adapted


@contextmanager
def _attention_named(model: Any, name: str | None) -> Any:
    """Our attention function's name must not be written into a config.json."""
    kept = model.config._attn_implementation_internal
    model.config._attn_implementation_internal = name
    try:
        yield
    finally:
        model.config._attn_implementation_internal = kept


def quiet() -> None:
    """No progress bars or advice of libraries in our output."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*checkpoint.*use_reentrant.*")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*deprecated.*")


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"

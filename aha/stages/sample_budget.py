"""What a sampling stage needs on this machine, measured at its first start and stored in its folder.

    RUN/NAME/resolved.json   threads, dtype, memory, bytes of keys and values, answers side by side

How many answers are decoded side by side, and in which dtype, decides last bits: a stage that was killed
goes on with the numbers it began with, however much memory is free by then.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aha.config import Recipe, SampleConfig
from aha.errors import DoesNotFit
from aha.stages import resolution

MOST_ROWS = 256
"""Answers decoded side by side, at most."""
EXAMPLES_TOKENS = 2048
"""Tokens that worked examples in front of a question may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Numbers that the schedule and the rounding depend on."""

    threads: int
    dtype: str
    memory_bytes: int
    """Planned with."""
    kv_bytes: int
    """For keys and values."""
    max_rows: int


def resolve(
    recipe: Recipe, config: SampleConfig, folder: Path, model_folder: Path, *, block: int
) -> Budget:
    """The budget of a stage: read from its folder, or measured now and stored there.

    Args:
        folder: of the stage.
        block: questions that are asked together.

    Raises:
        DoesNotFit: not even one answer fits the memory.
        ModelError: the model's configuration cannot be read.
    """
    return resolution.once(
        folder,
        lambda: {"resolved": asdict(measure(recipe, config, model_folder, block=block))},
        lambda said: Budget(**said["resolved"]),
    )


def measure(recipe: Recipe, config: SampleConfig, model: Any, *, block: int) -> Budget:
    """The budget by what is free now, or by `memory_gb`. Raises: as `resolve`.

    Args:
        model: its folder, or the transformers configuration of one that is not made yet.
    """
    from aha.models.load import (
        DTYPES,
        count_parameters,
        describe,
        resolve_device,
        resolve_dtype,
    )
    from aha.rollout.local.cache import MIN_ROWS, NATIVE, kept_dtype
    from aha.rollout.local.engine import PLACES
    from aha.train.plan import HEADROOM, PROGRAM_BYTES, available_memory, kv_token_bytes

    described = describe(model) if isinstance(model, Path) else model
    dtype = resolve_dtype(recipe.model.dtype, described, recipe.model.device)
    where = resolve_device(recipe.model.device)
    memory = int(recipe.memory_gb * 1e9) if recipe.memory_gb else available_memory(where.type)
    weights = count_parameters(described) * DTYPES[dtype].itemsize
    if DTYPES[dtype].itemsize == 2 and NATIVE and where.type == "cpu":
        weights *= 2  # packed for decoding, beside the others
    room = int(memory * HEADROOM) - weights - PROGRAM_BYTES

    answer, prompt = config.max_answer_tokens, recipe.data.max_prompt_tokens
    prompt += 0 if config.prompting == "plain" else EXAMPLES_TOKENS
    token = kv_token_bytes(described.get_text_config(), kept_dtype(DTYPES[dtype], where).itemsize)
    least = ((1 + MIN_ROWS) * answer + prompt) * token
    if room < least:
        raise DoesNotFit(
            f"does not fit: weights {weights / 1e9:.2f} GB, program {PROGRAM_BYTES / 1e9:.2f} GB, and one "
            f"answer of {answer} tokens {least / 1e9:.2f} GB; {int(memory * HEADROOM) / 1e9:.2f} GB may be "
            "used. Lower max_answer_tokens or data.max_prompt_tokens"
        )
    rows = min(MOST_ROWS, block * config.samples)
    places = min(block, PLACES * rows // config.samples + 1)
    wanted = ((rows + MIN_ROWS) * answer + places * prompt) * token
    return Budget(
        threads=recipe.threads or os.cpu_count() or 1,
        dtype=dtype,
        memory_bytes=memory,
        kv_bytes=min(wanted, room),
        max_rows=rows,
    )

"""How many positions a model has, and whether a stage stays within them.

A model counts the places of its tokens; beyond `max_position_embeddings` of its config.json it was never
trained, and other programs refuse to ask it there. Longer training is a decision: `model.max_positions`
(with `model.rope_theta`, the base of the rotary angles, where that changes too) says so, is applied when
the model is loaded and saved with it, as DeepSeek's distilled models say 131,072 where their Qwen2.5-Math
bases say 4,096.

Holds not:       other ways to stretch positions (linear, YaRN); they come with the model's own config.json.
"""

from collections.abc import Mapping
from typing import Any

from aha.config import ModelConfig
from aha.errors import ConfigError


def stretch(described: Any, config: ModelConfig) -> Any:
    """A transformers configuration with the positions that a recipe asks for; changed in place.

    Raises:
        ConfigError: `rope_theta` for a model without rotary positions of one kind.
    """
    text = described.get_text_config()
    if config.max_positions:
        text.max_position_embeddings = config.max_positions
    if config.rope_theta:
        rope = getattr(text, "rope_parameters", None)
        if not isinstance(rope, dict) or "rope_theta" not in rope:
            raise ConfigError(
                f"model.rope_theta={config.rope_theta:g}: {config.path} has no single base of rotary "
                "angles to change; leave rope_theta out"
            )
        text.rope_parameters = rope | {"rope_theta": config.rope_theta}
    return described


def positions(described: Any, config: ModelConfig) -> int | None:
    """Positions of a model as a recipe loads it; None where it has no such bound."""
    if config.max_positions:
        return config.max_positions
    found = getattr(described.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def check(described: Any, config: ModelConfig, asked: Mapping[str, int]) -> None:
    """Refuse a stage whose sequences may be longer than the model has positions.

    Args:
        described: the transformers configuration of the model that the stage starts from.
        asked: what one sequence is made of: key of the recipe -> its tokens.

    Raises:
        ConfigError: names both numbers and the keys.
    """
    there, wanted = positions(described, config), sum(asked.values())
    if there is None or wanted <= there:
        return
    said = " + ".join(f"{key}={tokens}" for key, tokens in asked.items())
    total = f" = {wanted}" if len(asked) > 1 else ""
    whose = "model.max_positions" if config.max_positions else "max_position_embeddings"
    raise ConfigError(
        f"{said}{total} tokens, but {config.path} has {there} positions ({whose}): lower "
        f"{' or '.join(asked)}, or let the model learn more: model.max_positions={wanted} "
        "(and model.rope_theta, where that is to change too)"
    )

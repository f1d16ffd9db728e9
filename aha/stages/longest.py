"""The longest sequence that a stage may make, by the keys of the recipe that bound it.

Known before any model is loaded, so that a stage which asks for more positions than its model has is
refused at once (models/positions.py). Worked examples in front of a question (`prompting = "few_shot"`)
have no key and are not counted; reward models are not looked at: they score what is there.
"""

from typing import Any

from aha.config import DpoConfig, Recipe, SampleConfig, SftConfig, ZeroConfig
from aha.models import positions


def longest(seen: Recipe, stage: str) -> dict[str, int]:
    """Key -> tokens, which together are one sequence; {} for a stage that makes none of its own.

    Args:
        seen: the recipe as the stage sees it (start.py).
    """
    config: Any = seen.stage.get(stage) or seen.sft or seen.zero
    table = stage if stage in ("sft", "zero") else f"stage.{stage}"
    if isinstance(config, (SftConfig, DpoConfig)):
        return {f"{table}.max_tokens": config.max_tokens}
    prompt = {"data.max_prompt_tokens": seen.data.max_prompt_tokens}
    if isinstance(config, ZeroConfig):
        evaluated = config.eval.max_answer_tokens
        if evaluated > config.max_answer_tokens:
            return prompt | {f"{table}.eval.max_answer_tokens": evaluated}
        return prompt | {f"{table}.max_answer_tokens": config.max_answer_tokens}
    if isinstance(config, SampleConfig) and not config.written:
        return prompt | {f"{table}.max_answer_tokens": config.max_answer_tokens}
    return {}


def check(seen: Recipe, stage: str, described: Any) -> None:
    """Refuse a stage whose sequences may be longer than its model has positions.

    Args:
        described: the transformers configuration of the model that the stage starts from.

    Raises:
        ConfigError: names both numbers and the keys.
    """
    positions.check(described, seen.model, longest(seen, stage))

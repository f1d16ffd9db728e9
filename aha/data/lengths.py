"""Prompts that fit: too long or refused ones are dropped and counted, never cut."""

from collections.abc import Iterable
from dataclasses import dataclass

from aha.data.templates import Template
from aha.errors import DataError
from aha.records import Prompt, Rendered


@dataclass(frozen=True, slots=True)
class Dropped:
    """A prompt that is not asked, and why."""

    prompt: Prompt
    reason: str
    tokens: int = 0
    """Its length, 0 if it was refused before it had one."""


def render_all(
    template: Template, prompts: Iterable[Prompt], max_prompt_tokens: int
) -> tuple[list[Rendered], list[Dropped]]:
    """Render prompts; those over `max_prompt_tokens` tokens, or refused, are in the second list.

    Raises:
        DataError: no prompt is left.
    """
    kept: list[Rendered] = []
    dropped: list[Dropped] = []
    for prompt in prompts:
        try:
            rendered = template.render(prompt)
        except DataError as error:
            dropped.append(Dropped(prompt, str(error)))
            continue
        length = len(rendered.token_ids)
        if length > max_prompt_tokens:
            reason = f"{length} tokens, above max_prompt_tokens={max_prompt_tokens}"
            dropped.append(Dropped(prompt, reason, length))
        else:
            kept.append(rendered)
    if not kept:
        first = "; ".join(f"{each.prompt.id}: {each.reason}" for each in dropped[:3])
        lengths = [each.tokens for each in dropped if each.tokens]
        hint = (
            f"; the shortest has {min(lengths)} tokens: raise data.max_prompt_tokens"
            if lengths
            else ""
        )
        raise DataError(f"none of {len(dropped)} prompts can be asked ({first or 'none'}){hint}")
    return kept, dropped

"""How a sampling stage puts its questions: by the template, or by a route of cold-start data. §2.3.1.

    plain      the template's own question
    few_shot   worked examples in front: the user's dialogues (`examples`) or ours
    detailed   the demand for a detailed answer with reflection and verification

Whatever the route: a question that spells a control token is not asked, nor one that is too long (with what
stands in front of it: `max_prompt_tokens` + EXAMPLES_TOKENS); both are counted, with the reason. A suffix
stands behind every question; a system message is the chat template's affair, and comes before the demand.

Holds not: layouts and our examples (data/cold_start.py), sampling (sample.py).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aha.config import DataConfig, SampleConfig
from aha.data import cold_start, dialogues, templates
from aha.data.cold_start import Asking
from aha.data.dialogues import Dialogue
from aha.data.lengths import Dropped, render_all
from aha.data.templates import Template
from aha.errors import ConfigError, DataError
from aha.records import Prompt, Rendered
from aha.stages.sample_budget import EXAMPLES_TOKENS

NEXT_TURN = "User:"
"""Where a base model goes on with another question, in the layout of the R1-Zero template."""
BASE_SHOTS = 1
"""Examples that a small base model has room for (docs/cold_start_and_rejection.md)."""
SHOWN = 3
"""Questions that are not asked, in the facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The prompts as the model reads them, and those that are not asked."""

    questions: list[Rendered]
    dropped: list[Dropped]
    stop: tuple[str, ...]
    """Strings that end an answer."""
    askings: dict[str, Asking]
    """How a base model was asked, by prompt id; {} for a template's own questions."""

    def facts(self) -> dict[str, Any]:
        first = [f"{one.prompt.id}: {one.reason}" for one in self.dropped[:SHOWN]]
        return {"not_asked": len(self.dropped), "not_asked_first": first}


def refuse(config: SampleConfig, data: DataConfig) -> None:
    """Keys of [data] that a route has no place for.

    Raises:
        ConfigError: a system message without a chat template, a template file.
    """
    if config.prompting == "plain" or data.template == "chat":
        return
    if data.system:
        raise ConfigError(
            f"data.system has no place where prompting='{config.prompting}' asks a base model: set "
            "data.system='', or data.template=chat"
        )
    if data.template != "r1-zero":
        raise ConfigError(
            f"prompting='{config.prompting}' has a layout of its own, so the template file "
            f"{data.template!r} would not be used: set prompting=plain, data.template=chat, or leave the "
            "template out"
        )


def examples_of(config: SampleConfig, data: DataConfig) -> list[Dialogue] | None:
    """The user's examples; None where ours are shown, or none.

    Raises:
        ConfigError: an unknown key of the source, a dialogue of more than one question.
        DataError: nothing there, or too many broken rows.
    """
    if not config.examples:
        return None
    found = dialogues.load(config.examples, split="train", config=data).dialogues
    cold_start.check_examples(found, config.examples)
    return found


def digest(examples: Sequence[Dialogue] | None) -> str:
    """Of the user's examples, for a receipt: other examples are another question. "" for ours."""
    if examples is None:
        return ""
    text = json.dumps([[one.id, one.domain, one.messages] for one in examples])
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]


def questions(
    config: SampleConfig,
    data: DataConfig,
    template: Template,
    prompts: Sequence[Prompt],
    examples: Sequence[Dialogue] | None = None,
) -> Asked:
    """The prompts, asked as the stage says.

    Raises:
        ConfigError: an example that spells a control token, a chat template without a place for the demand.
        DataError: no prompt can be asked.
    """
    if config.prompting == "plain":
        rendered, dropped = render_all(template, prompts, data.max_prompt_tokens)
        more = (NEXT_TURN,) if config.bare and not template.chat else ()
        return Asked(questions=rendered, dropped=dropped, stop=(*template.stop, *more), askings={})
    _refuse_control(template, examples or ())
    if template.chat:
        _refuse_deaf(template)
    asked = Asked(questions=[], dropped=[], stop=template.stop, askings={})
    longest = data.max_prompt_tokens + EXAMPLES_TOKENS
    stop = asked.stop
    for prompt in prompts:
        try:
            asking = _asking(config, template, prompt, examples)
        except (ConfigError, DataError) as error:
            asked.dropped.append(Dropped(prompt, str(error)))
            continue
        one = cold_start.rendered(
            asking,
            prompt,
            lambda text: template.tokenizer(text, add_special_tokens=False).input_ids,
            bos=template.bos,
        )
        length = len(one.token_ids)
        if length > longest:
            reason = f"{length} tokens, above max_prompt_tokens={data.max_prompt_tokens} + {EXAMPLES_TOKENS}"
            asked.dropped.append(Dropped(prompt, reason, length))
            continue
        asked.questions.append(one)
        if not template.chat:
            asked.askings[prompt.id], stop = asking, asking.stop
    if not asked.questions:
        raise _none(config, asked.dropped)
    return Asked(questions=asked.questions, dropped=asked.dropped, stop=stop, askings=asked.askings)


def _asking(
    config: SampleConfig,
    template: Template,
    prompt: Prompt,
    examples: Sequence[Dialogue] | None,
) -> Asking:
    """Raises: ConfigError, DataError: the prompt cannot be asked."""
    assert config.prompting != "plain"
    for string in template.control:
        if string in prompt.question:
            raise DataError(
                f"prompt {prompt.id}: the question contains the control token {string!r}"
            )
    if not template.chat:
        return cold_start.as_text(
            config.prompting,
            prompt,
            examples=examples,
            shots=config.shots or BASE_SHOTS,
            think_tag=template.think_tag,
            tagged=False,
            suffix=template.suffix,
        )
    messages = cold_start.as_messages(
        config.prompting,
        prompt,
        examples=examples,
        shots=config.shots or cold_start.SHOTS,
        think_tag=template.think_tag,
        system=template.system,
        suffix=template.suffix,
    )
    text = templates.converse(template.tokenizer, messages, where=prompt.id)
    if not text.endswith(template.prefill):
        raise DataError(f"prompt {prompt.id}: its chat rendering ends unlike all others")
    return Asking(text=text, prefill=template.prefill)


def _refuse_control(template: Template, examples: Sequence[Dialogue]) -> None:
    """An example is text; the tags of its answer may be tokens that a template writes."""
    own = [f"<{slash}{tag}>" for tag in (template.think_tag, "think") for slash in ("", "/")]
    for one in examples:
        for role, text in one.messages:
            for string in template.control:
                if string in text and not (role == "assistant" and string in own):
                    raise ConfigError(
                        f"example {one.id}: {role} contains the control token {string!r}; take it out"
                    )


def _refuse_deaf(template: Template) -> None:
    """Some chat templates leave a system message out without a word."""
    user = {"role": "user", "content": "Q"}
    demand = {"role": "system", "content": "A demand"}
    try:
        said, without = (
            templates.converse(template.tokenizer, messages, where="data.template=chat")
            for messages in ([demand, user], [user])
        )
    except DataError as error:
        raise ConfigError(
            f"{error}; few_shot and detailed ask in a system message: set prompting=plain, and ask in "
            "data.suffix"
        ) from error
    if said == without:
        raise ConfigError(
            "the model's chat template writes no system message, in which few_shot and detailed ask: set "
            "prompting=plain, and ask in data.suffix"
        )


def _none(config: SampleConfig, dropped: Sequence[Dropped]) -> DataError:
    first = "; ".join(f"{one.prompt.id}: {one.reason}" for one in dropped[:SHOWN])
    lengths = [one.tokens for one in dropped if one.tokens]
    hint = ""
    if lengths:
        fewer = ", or show fewer or shorter examples" if config.prompting == "few_shot" else ""
        hint = f"; the shortest has {min(lengths)} tokens: raise data.max_prompt_tokens{fewer}"
    return DataError(f"none of {len(dropped)} prompts can be asked ({first or 'none'}){hint}")

"""How a problem is put to the model, and which tokens and strings end its answer.

    r1-zero   the paper's paragraph, byte for byte (DeepSeek-R1, Table 1)
    chat      the model's own chat template, or the one that `data.chat_template` puts in its place, in
              transformers' Jinja sandbox
    a file    text with {question} in it

What the user wrote never becomes a control token: a question that spells one (`<|im_end|>`) is
refused with a reason. Text is put in by concatenation, never by str.format or as a Jinja source.
Not covered: tools; taking answers apart (`thinking.py`).
"""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.config import DataConfig
from aha.data import chat_templates
from aha.errors import ConfigError, DataError
from aha.records import Prompt, Rendered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACE = "{question}"
"""Where the question goes in a template file."""
_ASKED = "Qq7zQ"
_ANSWERED = "Zz4qZ"
"""Stand-ins for question and answer, to see what a chat template writes around them."""


def r1_zero(think_tag: str = "think", answer_tag: str = "answer") -> str:
    """The R1-Zero template with {question} in place of the paper's red `prompt`.

    DeepSeek-R1 Table 1, one paragraph with single spaces; the full stop after the question is the
    paper's.
    """
    think, answer = think_tag, answer_tag
    return (
        "A conversation between User and Assistant. The user asks a question, and the Assistant "
        "solves it. The assistant first thinks about the reasoning process in the mind and then "
        "provides the user with the answer. The reasoning process and answer are enclosed within "
        f"<{think}> </{think}> and <{answer}> </{answer}> tags, respectively, i.e., "
        f"<{think}> reasoning process here </{think}> <{answer}> answer here </{answer}>. "
        f"User: {PLACE}. Assistant:"
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Template:
    """A template bound to a tokenizer. Made by `load_template`."""

    name: str
    """r1-zero, chat, or the file's name."""
    tokenizer: "PreTrainedTokenizerBase"
    before: str
    after: str
    """Text around the question; with `chat`, only what a stand-in question was seen in."""
    chat: bool
    system: str
    suffix: str
    prefill: str
    """The end of every rendered prompt that already belongs to the answer, often ""."""
    bos: tuple[int, ...]
    """Put in front of the text's tokens; () with chat, whose text says it itself."""
    control: tuple[str, ...]
    """Strings that no question may hold."""
    eos_ids: tuple[int, ...]
    """Tokens that end an answer."""
    turn_end: int | None
    """The token after an assistant turn in the model's chat template, None if there is none."""
    stop: tuple[str, ...]
    """Strings that end an answer."""
    think_tag: str
    answer_tag: str
    """"": answers have no tag."""
    hash: str
    """12 hex digits of the sha256 of all that determines the rendering, tokens apart."""

    def render(self, prompt: Prompt) -> Rendered:
        """The prompt as text and tokens.

        `token_ids` are the tokens of `text`, after a beginning-of-sequence token that is not in
        `text` where the tokenizer adds one by itself.

        Raises:
            DataError: the question spells a control token, or the chat template refuses it.
        """
        for string in self.control:
            if string in prompt.question:
                raise DataError(
                    f"prompt {prompt.id}: the question contains the control token {string!r}"
                )
        question = _with_suffix(prompt.question, self.suffix)
        if self.chat:
            text = converse(self.tokenizer, _messages(question, self.system), where=prompt.id)
            if not text.endswith(self.prefill):
                raise DataError(f"prompt {prompt.id}: its chat rendering ends unlike all others")
        else:
            text = self.before + question + self.after
        ids = _encode(self.tokenizer, text)
        return Rendered(prompt=prompt, text=text, token_ids=(*self.bos, *ids), prefill=self.prefill)


def example(
    template: Template, turns: Sequence[tuple[str, str]], response: str, *, name: str = ""
) -> tuple[list[int], list[int]]:
    """What stands before an answer, and the answer to be learned with the token that ends it, as tokens.

    `turns` are (role, text), the last one the user's; `response` is the whole of the answer, thinking
    included: the chat template never sees it, so it can drop nothing of it. Earlier answers are written
    as the model's template writes them. Where the template opens the thinking (a prefill), what the
    response begins with is not written twice. Of the templates that are plain text only `chat` takes
    more than one question.

    Raises:
        DataError: a control token in a turn or in the response (an answer's own tags are none), turns
            that the template has no place for.
    """
    tags = [f"<{s}{tag}>" for tag in (template.think_tag, template.answer_tag) for s in ("", "/")]
    for role, text in (*turns, ("the response", response)):
        own = role in ("assistant", "the response")  # its tags may be tokens that a template writes
        for string in template.control:
            if string in text and not (own and string in tags):
                raise DataError(f"dialogue {name}: {role} contains the control token {string!r}")
    if template.chat:
        *before, (_, last) = turns
        asked = [*before, ("user", _with_suffix(last, template.suffix))]
        if template.system and asked[0][0] != "system":
            asked.insert(0, ("system", template.system))
        messages = [{"role": role, "content": text} for role, text in asked]
        text = converse(template.tokenizer, messages, where=name)
        glue = _glue(template.tokenizer, messages, text)
    else:
        if len(turns) != 1:
            raise DataError(
                f"dialogue {name}: {len(turns)} turns before the answer; the template "
                f"{template.name!r} takes one question: use data.template=chat"
            )
        text = template.before + _with_suffix(turns[0][1], template.suffix) + template.after
        glue = "" if text.endswith((" ", "\n", ">")) else " "
    opened = template.prefill.strip()
    if opened and text.endswith(template.prefill):
        if response.startswith(opened):
            response, glue = response[len(opened) :].lstrip(), ""
        else:
            text = text[: -len(template.prefill)]
    ids = _encode(template.tokenizer, glue + response)
    end = template.turn_end if template.turn_end is not None else template.eos_ids[:1]
    ids += [end] if isinstance(end, int) else list(end)
    return [*template.bos, *_encode(template.tokenizer, text)], ids


def load_template(
    config: DataConfig,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    generation_eos: int | Sequence[int] | None = (),
) -> Template:
    """The template that the recipe names, bound to a tokenizer.

    `data.chat_template` becomes the tokenizer's own: what saves the tokenizer saves it too, so a model
    that was trained with it is asked without the key.

    `generation_eos` are the end-of-sequence ids of the model's generation_config.

    Raises:
        ConfigError: no such template, a file without {question}, a model without chat template, a
            system message where there is no place for one.
    """
    if config.chat_template:
        _put(config.chat_template, tokenizer)
    turn_end = _turn_end(tokenizer) if tokenizer.chat_template else None
    own = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    given = [generation_eos] if isinstance(generation_eos, int) else list(generation_eos or ())
    eos = own + given + ([] if turn_end is None else [turn_end])
    control = _special_strings(tokenizer)
    closing = f"</{config.answer_tag}>" if config.answer_tag else ""
    prefill, bos = "", _bos(tokenizer)
    stop: tuple[str, ...] = (closing,) if closing else ()
    chat = config.template == "chat"
    if chat:
        before, after, prefill = _look_at_chat(config, tokenizer)
        control += _added_strings(tokenizer, before + after)
        source, bos, stop = str(tokenizer.get_chat_template()), (), ()
    else:
        if config.system:
            raise ConfigError(
                f"data.system has no place in the template {config.template!r}: write it into a "
                "template file, or set data.template=chat"
            )
        if config.template == "r1-zero":
            source = r1_zero(config.think_tag, config.answer_tag)
        else:
            source = _template_file(config.template)
            stop = stop if closing in source else ()
        before, after = source.split(PLACE)
        if opened := re.search(rf"<{re.escape(config.think_tag)}>\s*$", after):
            prefill = opened.group()
    tags = (config.think_tag, config.answer_tag)
    what = [chat, source, config.system, config.suffix, prefill, list(stop), list(tags)]
    return Template(
        name=config.template
        if config.template in ("r1-zero", "chat")
        else Path(config.template).name,
        tokenizer=tokenizer,
        before=before,
        after=after,
        chat=chat,
        system=config.system,
        suffix=config.suffix,
        prefill=prefill,
        bos=bos,
        control=control,
        eos_ids=tuple(dict.fromkeys(eos)),
        turn_end=turn_end,
        stop=stop,
        think_tag=config.think_tag,
        answer_tag=config.answer_tag,
        hash=hashlib.sha256(json.dumps(what).encode("utf-8")).hexdigest()[:12],
    )


def _put(name: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Give the tokenizer the chat template that the recipe names.

    Raises:
        ConfigError: see chat_templates.py; one of ours, for a tokenizer without an end-of-sequence token.
    """
    source = chat_templates.named(name)
    if name in chat_templates.NAMED and tokenizer.eos_token is None:
        raise ConfigError(
            f"data.chat_template={name!r} ends an answer with the tokenizer's eos_token, and it has "
            "none: name one in its tokenizer_config.json, or write a template with another token"
        )
    tokenizer.chat_template = source


def _with_suffix(question: str, suffix: str) -> str:
    if not suffix or suffix[0].isspace():
        return question + suffix
    return f"{question} {suffix}"


def _template_file(name: str) -> str:
    """The text of a template file, without the newline that editors put at its end."""
    path = Path(name).expanduser()
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(name, ("r1-zero", "chat"), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "write r1-zero, chat, or a file's path"
        raise ConfigError(f"data.template={name!r} is no template and no file; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the template {path}: {error}") from error
    if text.count(PLACE) != 1:
        raise ConfigError(
            f"{path} has {PLACE} {text.count(PLACE)} times; it must be there exactly once"
        )
    return text.removesuffix("\n").removesuffix("\r")


def _messages(question: str, system: str) -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": question}]


def converse(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Sequence[Mapping[str, str]],
    *,
    where: str,
    prompt: bool = True,
) -> str:
    """A conversation as text.

    Raises:
        DataError: the model's template refuses it.
    """
    import jinja2

    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=prompt
            )
        )
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{where}: the model's chat template fails: {error}") from error


def _look_at_chat(config: DataConfig, tokenizer: "PreTrainedTokenizerBase") -> tuple[str, str, str]:
    """Text before and after a question, and the prefill.

    The prefill is the end of the generation prompt from where it leaves what stands before an
    answer in a rendered conversation, or from its opening think tag.
    """
    if not tokenizer.chat_template:
        raise ConfigError(
            "data.template=chat, but the model has no chat template (a base model?); set "
            "data.chat_template=plain, or a .jinja file, to give it one, or set data.template=r1-zero"
        )
    asked = _messages(_ASKED, config.system)
    try:
        opened = converse(tokenizer, asked, where="data.template=chat")
        closed = converse(tokenizer, asked, where="data.template=chat", prompt=False)
    except DataError as error:
        hint = "; it may take no system message: set data.system=''" if config.system else ""
        raise ConfigError(f"{error}{hint}") from error
    before, found, after = opened.partition(_ASKED)
    if not found:
        raise ConfigError("data.template=chat: the model's chat template leaves out the question")
    if config.system and opened == converse(tokenizer, _messages(_ASKED, ""), where="chat"):
        raise ConfigError(
            "data.system is set, but the model's chat template does not write it; "
            "set data.system=''"
        )
    header = _common(opened, closed)
    answered = _answered(tokenizer, asked, _ANSWERED)
    starts = []
    if answered is not None:
        shared = _common(opened, answered.partition(_ANSWERED)[0])
        starts.append(max(shared, header))
    tag = opened.find(f"<{config.think_tag}>", max(header, len(before) + len(_ASKED)))
    if tag >= 0:
        starts.append(tag)
    prefill = opened[min(starts) :] if starts else ""
    return before, after, prefill if prefill.strip() else ""


def _answered(
    tokenizer: "PreTrainedTokenizerBase", asked: Sequence[Mapping[str, str]], answer: str
) -> str | None:
    """The conversation with this answer at its end; None if the template cannot render one."""
    try:
        return converse(
            tokenizer, [*asked, {"role": "assistant", "content": answer}], where="", prompt=False
        )
    except DataError:
        return None


def _glue(
    tokenizer: "PreTrainedTokenizerBase", asked: Sequence[Mapping[str, str]], opened: str
) -> str:
    """What a chat template writes between its generation prompt and an answer: often a blank, or nothing."""
    answered = _answered(tokenizer, asked, _ANSWERED)
    if answered is None or not answered.startswith(opened):
        return ""
    between = answered[len(opened) :].partition(_ANSWERED)[0]
    return between if not between.strip() else ""


def _common(a: str, b: str) -> int:
    """Length of the common beginning."""
    for place, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return place
    return min(len(a), len(b))


def _turn_end(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The control token that the chat template writes after an assistant turn, None without one."""
    text = _answered(tokenizer, _messages(_ASKED, ""), _ANSWERED)
    if text is None:
        return None
    added = tokenizer.added_tokens_decoder
    for token in _encode(tokenizer, text.rpartition(_ANSWERED)[2]):
        if token in added and added[token].content.strip():
            return int(token)
        if tokenizer.decode([token]).strip():
            return None
    return None


def _bos(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """What the tokenizer puts in front of a text by itself."""
    plain, whole = _encode(tokenizer, "a"), list(tokenizer("a").input_ids)
    for length in range(len(whole) - len(plain) + 1):
        if whole[length : length + len(plain)] == plain:
            return tuple(whole[:length])
    return ()


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    ids: Any = tokenizer(text, add_special_tokens=False).input_ids
    return list(ids)


def _special_strings(tokenizer: "PreTrainedTokenizerBase") -> tuple[str, ...]:
    special = [str(token) for token in tokenizer.all_special_tokens]
    special += [str(t.content) for t in tokenizer.added_tokens_decoder.values() if t.special]
    return tuple(dict.fromkeys(token for token in special if token.strip()))


def _added_strings(tokenizer: "PreTrainedTokenizerBase", scaffold: str) -> tuple[str, ...]:
    """Added tokens that the chat template writes and that are not words: `<｜User｜>`."""
    added = [str(t.content) for t in tokenizer.added_tokens_decoder.values() if not t.special]
    return tuple(t for t in added if len(t) >= 3 and t in scaffold and not t.strip().isalnum())


def lint(template: Template, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """What may go wrong with this template and tokenizer, in plain words; [] if nothing is seen."""
    said = []
    if not template.eos_ids:
        said.append(
            "no end-of-sequence token is known: answers end only at a stop string or at the cap"
        )
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id in template.eos_ids:
        said.append(
            "padding and end-of-sequence are one token: programs that mask padding will never "
            "teach the model to end"
        )
    tags = [f"<{template.think_tag}>", f"</{template.think_tag}>"]
    lengths = [len(_encode(tokenizer, tag)) for tag in tags]
    if max(lengths) > 1:
        said.append(
            f"{tags[0]} and {tags[1]} are {lengths[0]} and {lengths[1]} tokens, not one each: "
            "a model must learn to spell them"
        )
    return said + (_lint_chat(template, tokenizer) if template.chat else [])


def _lint_chat(template: Template, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    said = []
    tag = template.think_tag
    asked = _messages(_ASKED, template.system)
    opened = template.before + _ASKED + template.after
    thought = f"<{tag}>\nXxWhyxX\n</{tag}>\n\n{_ANSWERED}"
    answered = _answered(tokenizer, asked, thought)
    if answered is None:
        return ["the chat template cannot render an assistant turn"]
    if "XxWhyxX" not in answered:
        said.append(
            f"the chat template drops the text before </{tag}> of the turn that is trained: "
            "supervised training on it would lose the reasoning"
        )
    if not answered.startswith(opened):
        plain = _answered(tokenizer, asked, _ANSWERED) or ""
        if not plain.startswith(opened):
            said.append(
                "the generation prompt is not the beginning of the rendered conversation: what is "
                "sampled and what is trained on would differ"
            )
    if template.turn_end is None:
        said.append("the chat template ends an assistant turn with no control token")
    elif tokenizer.eos_token_id is not None and tokenizer.eos_token_id != template.turn_end:
        end = tokenizer.convert_ids_to_tokens(template.turn_end)
        said.append(
            f"an assistant turn ends in {end}, but the tokenizer's end-of-sequence is "
            f"{tokenizer.eos_token}: both end an answer here; other programs may know only one"
        )
    if "strftime_now" in str(tokenizer.get_chat_template()):
        said.append("the chat template writes today's date: prompts differ from day to day")
    return said

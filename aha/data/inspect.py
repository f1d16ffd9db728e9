"""`aha data inspect`: a few problems as the model reads them, token by token, and what is trained.

What RL trains is every token that the model writes after the prompt, up to and including the token
that ends its answer. Where a row holds a worked answer (a solution, an assistant's turn), it is shown
in that place, so that tokens and mask can be seen before anything is trained.

Below the rows stands what `check.py` says of the whole source. Showing is not done here: terminal in
`report/data_text.py`, page in `report/data_page.py`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.config import DataConfig
from aha.data import check, templates
from aha.data.check import Report
from aha.data.golds import own_answer
from aha.data.readers import BadRow, Row
from aha.data.templates import Template
from aha.errors import DataError, ModelError
from aha.records import Prompt, Rendered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORKED = ("solution", "response", "completion", "output", "rationale", "reasoning")
"""Columns that may hold a worked answer; the gold's own column comes first, for kind math."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    id: int
    text: str
    """As it is decoded alone; bytes that are no whole character as ‹e4 b8›."""
    trained: bool
    """Whether it is in the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One row."""

    place: str
    """file:line."""
    id: str
    question: str
    gold: str
    kind: str
    rejected: str
    """Why a run would not use it; "" if it would."""
    text: str
    """The rendered prompt, exactly."""
    prefill: str
    """Its end that already belongs to the answer; not trained."""
    tokens: list[Token] = field(default_factory=list)
    worked: str = ""
    """Where the worked answer is from; "" if the row has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    model: str
    template: str
    hash: str
    ends: list[str]
    """Tokens that end an answer."""
    stops: list[str]
    """Strings that end an answer."""
    notes: list[str]
    """What may go wrong with template and tokenizer."""
    max_prompt_tokens: int
    rows: list[Shown]
    report: Report

    def as_dict(self) -> dict[str, Any]:
        made = {name: getattr(self, name) for name in ("model", "template", "hash", "ends")}
        made |= {"stops": self.stops, "notes": self.notes}
        made |= {"max_prompt_tokens": self.max_prompt_tokens}
        faults = [fault.as_dict() for shown in self.report.tally.first.values() for fault in shown]
        rows = [asdict(row) for row in self.rows]
        return {**made, "rows": rows, **self.report.as_dict(), "first_faults": faults}


def inspect(source: str, config: DataConfig, *, model: str = "aha:base", n: int = 3) -> Inspection:
    """The first `n` problems of a source, and what is to be said of all of it.

    Raises:
        ConfigError: a source, a key or a template that cannot be.
        ModelError: the model cannot be had.
    """
    template = bind(model, config)
    first: dict[str, list[tuple[Row, Prompt | BadRow, Rendered | None]]] = {}

    def see(split: str, row: Row, made: Prompt | BadRow, rendered: Rendered | None) -> None:
        rows = first.setdefault(split, [])
        if len(rows) < n and (isinstance(made, Prompt) or _turns(row.value)):
            rows.append((row, made, rendered))

    report = check.check(source, config, template=template, see=see)
    rows = first.get("train") or next(iter(first.values()), [])
    mapping = next((split.mapping for split in report.splits if split.mapping), {})
    tokenizer = template.tokenizer
    return Inspection(
        model=model,
        template=template.name,
        hash=template.hash,
        ends=[str(tokenizer.convert_ids_to_tokens(number)) for number in template.eos_ids],
        stops=list(template.stop),
        notes=templates.lint(template, tokenizer),
        max_prompt_tokens=config.max_prompt_tokens,
        rows=[_shown(template, *row, mapping.get("gold", "")) for row in rows],
        report=report,
    )


def bind(model: str, config: DataConfig) -> Template:
    """The template of a configuration with a model's tokenizer; the weights are not read.

    Raises:
        ConfigError: no such template, or the model has no chat template.
        ModelError: there is no such model, or its tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    from aha.models.load import quiet
    from aha.models.locate import locate

    quiet()
    folder = locate(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the library raises classes of several others
        said = str(error).split("\n")[0][:200]
        raise ModelError(f"the tokenizer in {folder} cannot be read: {said}") from error
    return templates.load_template(config, tokenizer, generation_eos=_generation_eos(folder))


def _generation_eos(folder: Path) -> int | list[int] | None:
    path = folder / "generation_config.json"
    if not path.is_file():
        return None
    found: Any = json.loads(path.read_text("utf-8")).get("eos_token_id")
    return found if isinstance(found, (int, list)) else None


def _shown(
    template: Template, row: Row, made: Prompt | BadRow, rendered: Rendered | None, gold: str
) -> Shown:
    place, why, answer, source = f"{row.file}:{row.line}", "", "", ""
    if isinstance(made, BadRow):
        why = made.reason
        turns = _turns(row.value)
        prompt = Prompt(id="", question=turns[0] if turns else "", gold="")
        answer, source = (turns[1], "the assistant's turn") if turns else ("", "")
        try:
            rendered = template.render(prompt)
        except DataError as error:
            why = f"{why}; {error}"
    else:
        prompt = made
        answer, source = _worked(row.value, prompt, gold)
    text = rendered.text if rendered else ""
    tokens = []
    if rendered is not None:
        tokens = _tokens(template.tokenizer, rendered.token_ids, trained=False)
        if answer:
            tokens += _answer(template, rendered, answer)
    return Shown(
        place=place,
        id=prompt.id,
        question=prompt.question,
        gold=prompt.gold,
        kind=prompt.kind,
        rejected=why,
        text=text,
        prefill=rendered.prefill if rendered else "",
        tokens=tokens,
        worked=source if rendered else "",
    )


def _worked(value: Mapping[str, Any], prompt: Prompt, gold: str) -> tuple[str, str]:
    """A worked answer in the row, and where it is from."""
    if prompt.kind == "code":
        program = own_answer(prompt)
        return (program, "the row's own program") if program else ("", "")
    for name in (gold, *WORKED) if prompt.kind in ("math", "exact") else WORKED:
        found = value.get(name)
        if isinstance(found, str) and found.strip() and found.strip() != prompt.gold:
            return found.strip(), f"column '{name}'"
    return "", ""


def _turns(value: Mapping[str, Any]) -> tuple[str, str] | None:
    """Question and answer of a conversation of one user's and one assistant's turn."""
    for name in ("messages", "conversation", "conversations", "prompt"):
        turns = value.get(name)
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            continue
        said = [turn for turn in turns if turn.get("role") != "system"]
        texts = [turn.get("content") for turn in said]
        if [turn.get("role") for turn in said] == ["user", "assistant"] and all(
            isinstance(text, str) for text in texts
        ):
            return str(texts[0]), str(texts[1])
    return None


def _answer(template: Template, rendered: Rendered, answer: str) -> list[Token]:
    """An answer and the token that ends it, as tokens that are trained."""
    tokenizer = template.tokenizer
    glued = rendered.text.endswith((" ", "\n", ">")) or bool(rendered.prefill)
    ids: list[int] = list(
        tokenizer(answer if glued else f" {answer}", add_special_tokens=False).input_ids
    )
    end = template.turn_end if template.turn_end is not None else next(iter(template.eos_ids), None)
    return _tokens(tokenizer, [*ids, *([] if end is None else [end])], trained=True)


def _tokens(
    tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], *, trained: bool
) -> list[Token]:
    raws = tokenizer.convert_ids_to_tokens(list(ids))
    made = []
    for number, raw in zip(ids, raws, strict=True):
        text = tokenizer.decode([number])
        text = text if isinstance(text, str) else "".join(text)
        if "\ufffd" in text:
            text = f"‹{_hex(str(raw))}›"
        elif str(raw).startswith("▁") and not text.startswith(" "):
            text = f" {text}"
        made.append(Token(id=int(number), text=text, trained=trained))
    return made


_PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
_BYTES = {chr(byte): byte for byte in _PRINTED} | {
    chr(256 + place): byte
    for place, byte in enumerate(byte for byte in range(256) if byte not in _PRINTED)
}
"""Characters that byte-level vocabularies are written in -> bytes (GPT-2)."""


def _hex(raw: str) -> str:
    """The bytes of a byte-level token; the token itself for other vocabularies."""
    if all(sign in _BYTES for sign in raw):
        return " ".join(f"{_BYTES[sign]:02x}" for sign in raw)
    return raw

"""Dialogues to learn from: rows of question and response, or of messages -> Dialogue, every row counted.

    {"question": ..., "response": ...}                  one turn; public names of both are known
    {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}, ...]}
    {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}

A dialogue ends with the assistant's turn; what it does not say (an empty turn, no assistant at all) makes
a row that is broken, with the reason. Which turns are trained, and how they are written as tokens, is the
template's affair (templates.py).

The folder of an RL stage is a source too: its stored answers (stored.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aha.config import DataConfig
from aha.data import query, stored
from aha.data.overlap import tokens
from aha.data.readers import BadRow, Row
from aha.data.sources import inputs_of, limit_of
from aha.errors import DataError

QUESTION = ("question", "problem", "prompt", "instruction", "query")
RESPONSE = ("response", "completion", "output", "answer", "solution", "chosen")
TURNS = ("messages", "conversations", "conversation")
KEYS = ("question", "response", "split", "n", "name", "weight", "id", "domain")
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
SHOWN = 5
BARE_WORDS = 3
"""Responses of which half have no more words than this are called bare answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """Turns, the last of which is the assistant's."""

    id: str
    messages: tuple[tuple[str, str], ...]
    """(role, text): system at most once and first, then user and assistant in turn."""
    source: str = ""
    domain: str = ""
    area: str = ""
    """Which of data/areas.py, where the row says so: tables go by it."""

    @property
    def turns(self) -> list[int]:
        """Places of the assistant's turns."""
        return [i for i, (role, _) in enumerate(self.messages) if role == "assistant"]

    @property
    def asked(self) -> tuple[str, ...]:
        """The user's turns as questions are compared: case, space and punctuation of prose are set aside.

        Who asks the same asks alike; a system message does not matter.
        """
        texts = [text for role, text in self.messages if role == "user"]
        return tuple(" ".join(tokens(text)) or text for text in texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogues:
    """A source's dialogues, and what became of every row."""

    source: str
    dialogues: list[Dialogue]
    bad: list[BadRow] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    """Of stored answers: how many are left out, by reason (stored.py)."""
    doubts: list[str] = field(default_factory=list)
    """What a user probably does not want, in plain words."""

    def sentence(self) -> str:
        read = len(self.dialogues) + len(self.bad) + sum(self.dropped.values())
        said = ", ".join(f"{number} {reason}" for reason, number in self.dropped.items())
        return (
            f"{self.source}: {len(self.dialogues)} dialogues of {read} rows, {len(self.bad)} broken"
            f"{f', {said}' if said else ''}"
        )


class _Unusable(Exception):
    pass


def load(source: str, *, split: str, config: DataConfig) -> Dialogues:
    """All dialogues of a source: a file, a folder or a hub id, as docs/data.md says.

    Raises:
        ConfigError: a key that is not known.
        DataError: nothing there, no usable row, too many broken ones.
    """
    if stored.holds(source):
        return _of_stored(source)
    asked = query.parse(source)
    query.take_weight(asked)
    query.refuse_unknown(asked.keys, KEYS, where=f"data source {asked.where}")
    limit = limit_of(asked)
    named = {role: asked.keys.get(role, "") for role in ("question", "response", "id", "domain")}
    # a file named as the held-out part is one
    own = config.model_copy(update={"heldout": source}) if split == "heldout" else config
    inputs, _ = inputs_of(asked, split, own, source)
    found: list[Dialogue] = []
    bad: list[BadRow] = []
    columns: Counter[str] = Counter()
    for each in inputs:
        for row in each.rows:
            if limit is not None and len(found) >= limit:
                break
            made = of_row(row, named, stem=each.stem, source=each.source)
            if isinstance(made, BadRow):
                bad.append(made)
            else:
                assert isinstance(row, Row)
                found.append(made)
                columns.update(_responses(row.value, named["response"]))
    read = len(found) + len(bad)
    if not read:
        raise DataError(f"{source}: there is no row in it")
    if not found or len(bad) > config.max_bad_share * read:
        first = "\n".join(f"  {row}" for row in bad[:SHOWN])
        raise DataError(
            f"{source}: {len(bad)} of {read} rows are broken, above max_bad_share="
            f"{config.max_bad_share:g}; a row needs a question and a response, or messages\n{first}"
        )
    said = _doubts(source, found, columns) if not named["response"] else []
    return Dialogues(source=source, dialogues=found, bad=bad, doubts=said)


def _responses(value: Mapping[str, Any], named: str) -> list[str]:
    """Columns of a row that could be its response, the one that is taken first; none of messages."""
    if named or any(name in value for name in TURNS):
        return []
    return [name for name in RESPONSE if isinstance(value.get(name), str) and value[name].strip()]


def _doubts(source: str, found: Sequence[Dialogue], columns: Counter[str]) -> list[str]:
    taken = next((name for name in RESPONSE if columns[name]), "")
    others = [name for name in columns if name != taken]
    if taken == "chosen":
        return [
            f'{source} holds pairs: only what was chosen is learned. A stage of kind "dpo" learns both'
        ]
    words = sorted(len(one.messages[-1][1].split()) for one in found)
    if not taken or words[len(words) // 2] > BARE_WORDS:
        return []
    return [
        f"half of the responses in {source} (column '{taken}') have {words[len(words) // 2]} words or fewer: "
        "who learns bare answers learns not to think. "
        + (
            f"Another column: ?response={others[0]}"
            if others
            else 'Write answers with their reasoning, or let a stage of kind "sample" do so'
        )
    ]


def _of_stored(source: str) -> Dialogues:
    """The stored answers of an RL stage: each is a dialogue, its text as it was sampled, but for space
    around it (templates.py writes what stands between a prompt and an answer)."""
    found = stored.load_answers(source)
    dialogues = [
        Dialogue(
            id=one.id,
            messages=(("user", one.prompt.question), ("assistant", one.response.strip())),
            source=one.prompt.source,
            domain=one.prompt.domain,
        )
        for one in found.kept
    ]
    return Dialogues(source=source, dialogues=dialogues, dropped=found.dropped)


def of_row(
    row: Row | BadRow, named: Mapping[str, str], *, stem: str, source: str
) -> Dialogue | BadRow:
    """One row as a dialogue, or why not. `named`: columns that the source names, "" for the usual ones."""
    if isinstance(row, BadRow):
        return row
    value = row.value
    try:
        turns = next((value[name] for name in TURNS if name in value), None)
        messages = _of_turns(turns) if turns is not None else _of_columns(value, named)
        return Dialogue(
            id=str(value.get(named.get("id") or "id") or f"{stem}-{row.line}"),
            messages=messages,
            source=source,
            domain=str(value.get(named.get("domain") or "domain") or ""),
            area=str(value.get("area") or ""),
        )
    except _Unusable as error:
        return BadRow(row.file, row.line, str(error))


def _of_columns(value: Mapping[str, Any], named: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    question = _first(value, named.get("question", ""), QUESTION, "question")
    response = _first(value, named.get("response", ""), RESPONSE, "response")
    if isinstance(question, list):  # a prompt of messages
        return _checked([*_pairs(question), ("assistant", _text(response, "the response"))])
    asked = _text(question, "the question")
    more = value.get("input")
    if isinstance(more, str) and more.strip() and "instruction" in value:
        asked = f"{asked}\n\n{more.strip()}"
    system = value.get("system")
    first = [("system", system.strip())] if isinstance(system, str) and system.strip() else []
    return _checked([*first, ("user", asked), ("assistant", _text(response, "the response"))])


def _first(value: Mapping[str, Any], named: str, known: Sequence[str], what: str) -> Any:
    for name in (named,) if named else known:
        if value.get(name) is not None:
            return value[name]
    raise _Unusable(f"no {what} (looked for {named or ', '.join(known)})")


def _of_turns(turns: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(turns, list) or not turns:
        raise _Unusable("messages must be a list that is not empty")
    return _checked(_pairs(turns))


def _pairs(turns: Iterable[Any]) -> list[tuple[str, str]]:
    pairs = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise _Unusable(f"message {number} is no object with role and content")
        role = str(turn.get("role", turn.get("from", "")))
        text = turn.get("content", turn.get("value"))
        pairs.append((ROLES.get(role, role), _text(text, f"message {number}")))
    return pairs


def _checked(messages: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The turns if they alternate and end with the assistant's."""
    spoken = messages[1:] if messages and messages[0][0] == "system" else messages
    wanted = [("user", "assistant")[i % 2] for i in range(len(spoken))]
    roles = [role for role, _ in spoken]
    if roles != wanted or not roles or roles[-1] != "assistant":
        said = ", ".join(roles[:6]) or "none"
        raise _Unusable(
            f"turns must be user, assistant, ... and end with the assistant's, not {said}"
        )
    return tuple(messages)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _Unusable(f"{where} is {type(value).__name__}, not text")
    if not value.strip():
        raise _Unusable(f"{where} is empty")
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        raise _Unusable(f"{where} holds half a character (a lone surrogate)")
    return value.strip()

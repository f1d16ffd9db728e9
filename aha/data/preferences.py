"""Preferences to learn from: rows -> Pair (one answer beats another) or Labelled (safe or not).

    {"prompt": ..., "chosen": ..., "rejected": ...}     prompt: text, messages, or a transcript
    {"chosen": [messages], "rejected": [messages]}      whole dialogues that differ in the last answer
    {"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": ...}     HH-RLHF
    {"question": ..., "response_0": ..., "response_1": ..., "better": 0}
    {"question": ..., "response": ..., "safe": true}    or `messages` in place of the first two
    {"prompt": ..., "response_0": ..., "is_response_0_safe": true, ...}   gives two labels
    a pair, with ?from=pairs                            gives two labels: chosen safe, rejected not

A reward model reads one question and one response. So of a dialogue with several turns all but the last
answer becomes the question, as a transcript ("User: ...\\n\\nAssistant: ...\\n\\nUser: ..."; a system message
stands in front); a single question stays as it is. Not covered: a turn that itself holds "\\n\\nUser: "
reads like two.

Every row is counted: used, without a preference (a tie, equal answers, a label that is empty), repeated,
or broken.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aha.config import DataConfig
from aha.data import query, talk_preferences
from aha.data.dialogues import QUESTION, ROLES, TURNS
from aha.data.readers import BadRow, Row
from aha.data.sources import inputs_of, limit_of
from aha.errors import ConfigError, DataError

BETTER = ("better", "better_response_id")
SAFE = ("safe", "is_safe")
RESPONSE = ("response", "completion", "answer", "output")
FIRST, SECOND = "response_0", "response_1"
SAFE_WORDS = dict.fromkeys(("safe", "harmless", "unharmful", "non-toxic", "benign"), True)
SAFE_WORDS |= dict.fromkeys(("unsafe", "harmful", "toxic"), False)
TIES = ("tie", "same", "equal", "none", "-1")
PAIR_KEYS = ("question", "chosen", "rejected", "better", "id", "domain")
LABEL_KEYS = ("response", "safe", "unsafe", "from", *PAIR_KEYS)
SOURCE_KEYS = ("split", "n", "name", "weight")
SHOWN = 5

Turns = list[tuple[str, str]]
"""(role, text) in the order spoken."""
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two responses to one question, of which one was preferred."""

    id: str
    question: str
    """One question, or a transcript up to the answer."""
    chosen: str
    rejected: str
    domain: str = ""
    root: str = ""
    """What the dialogue began with. Pairs that share it belong on one side of a split: data sets hold
    the same dialogue at several depths, and several pairs about one question."""
    turns: tuple[tuple[str, str], ...] = ()
    """The question turn by turn, (role, text), for a model that is asked through its own template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A response that was found safe, or not."""

    id: str
    question: str
    response: str
    safe: bool
    domain: str = ""
    root: str = ""
    """As in Pair."""


T = TypeVar("T", Pair, Labelled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[T]):
    """A source's pairs or labels, and what became of every row."""

    source: str
    items: list[T]
    rows: int
    """Rows read. Each gave items (two at most, of labels), or is counted in one of the next three."""
    ties: int = 0
    """Rows without a preference or label: a tie, two equal answers, an empty label."""
    repeated: int = 0
    """Rows that say only what an earlier row said."""
    bad: list[BadRow] = field(default_factory=list)

    def sentence(self) -> str:
        """One line for the console and the log."""
        return (
            f"{self.source}: {len(self.items)} of {self.rows} rows, {self.ties} without a preference, "
            f"{self.repeated} repeated, {len(self.bad)} broken"
        )


class _Unusable(Exception):
    pass


class _Tie(Exception):
    pass


def load_pairs(source: str, *, split: str, config: DataConfig) -> Loaded[Pair]:
    """All pairs of a source: a file, a folder or a hub id, as docs/data.md says.

    Raises:
        ConfigError: a key that is not known.
        DataError: nothing there, no usable row, too many broken ones.
    """

    def made(value: Mapping[str, Any], named: Mapping[str, str], spare_id: str) -> list[Pair]:
        return [pair_of(value, named, spare_id=spare_id)]

    return _load(source, split, config, PAIR_KEYS, made, "question, chosen and rejected")


def load_labelled(source: str, *, split: str, config: DataConfig) -> Loaded[Labelled]:
    """All labelled responses of a source; see `load_pairs`."""
    _check_label_keys(source)

    def made(value: Mapping[str, Any], named: Mapping[str, str], spare_id: str) -> list[Labelled]:
        return labelled_of(value, named, spare_id=spare_id)

    return _load(source, split, config, LABEL_KEYS, made, "question, response and safe")


def _check_label_keys(source: str) -> None:
    keys = query.parse(source).keys
    sides = {"chosen", "rejected", "better"} & keys.keys()
    if keys.get("from", "pairs") != "pairs":
        raise ConfigError(f"{source}: from={keys['from']}: write from=pairs, or leave it out")
    if "from" in keys and (own := sorted({"safe", "unsafe", "response"} & keys.keys())):
        raise ConfigError(f"{source}: with from=pairs the pair is the label; leave {own[0]}= out")
    if "from" not in keys and sides:
        raise ConfigError(f"{source}: {min(sides)}= is of pairs; add from=pairs, or leave it out")
    if {"safe", "unsafe"} <= keys.keys():
        raise ConfigError(f"{source}: write safe= or unsafe=, as the column says; not both")


def _load(
    source: str,
    split: str,
    config: DataConfig,
    roles: Sequence[str],
    made: Callable[[Mapping[str, Any], Mapping[str, str], str], list[T]],
    needs: str,
) -> Loaded[T]:
    asked = query.parse(source)
    query.refuse_weight(asked)
    limit: int | None = None
    named: dict[str, str] = {}
    inputs: list[tuple[str, Iterable[Row | BadRow]]]
    if asked.where in talk_preferences.SOURCES:
        form = "pairs" if "chosen" in needs else "labels"
        inputs = [(asked.where, talk_preferences.rows(asked, split, form=form))]
    else:
        query.refuse_unknown(asked.keys, (*roles, *SOURCE_KEYS), where=f"data source {asked.where}")
        limit = limit_of(asked)
        named = {role: asked.keys[role] for role in roles if role in asked.keys}
        # a file named as the held-out part is one
        own = config.model_copy(update={"heldout": source}) if split == "heldout" else config
        inputs = [(each.stem, each.rows) for each in inputs_of(asked, split, own, source)[0]]
    items: list[T] = []
    bad: list[BadRow] = []
    seen: set[tuple[Any, ...]] = set()
    rows = ties = repeated = 0
    for stem, some in inputs:
        for row in some:
            if limit is not None and len(items) >= limit:
                break
            rows += 1
            if isinstance(row, BadRow):
                bad.append(row)
                continue
            found = _of_row(row, named, f"{stem}-{row.line}", made)
            if isinstance(found, BadRow):
                bad.append(found)
                continue
            ties += found is None
            fresh = [item for item in found or () if _content(item) not in seen]
            seen.update(_content(item) for item in fresh)
            repeated += bool(found) and not fresh
            items += fresh
    if not items or len(bad) > config.max_bad_share * rows:
        first = "\n".join(f"  {row}" for row in bad[:SHOWN])
        if len(bad) > config.max_bad_share * rows:
            why = f"{len(bad)} of {rows} rows are broken, above max_bad_share={config.max_bad_share:g}"
        else:
            why = f"none of {rows} rows is left: {len(bad)} broken, {ties} without a preference"
        raise DataError(f"{source}: {why}; a row needs {needs}\n{first}".rstrip())
    return Loaded(
        source=source, items=items[:limit], rows=rows, ties=ties, repeated=repeated, bad=bad
    )


def _of_row(
    row: Row,
    named: Mapping[str, str],
    spare_id: str,
    made: Callable[[Mapping[str, Any], Mapping[str, str], str], list[T]],
) -> list[T] | BadRow | None:
    """What a row gives; None without a preference."""
    try:
        return made(row.value, named, spare_id)
    except _Unusable as error:
        return BadRow(row.file, row.line, str(error))
    except _Tie:
        return None


def _content(item: Pair | Labelled) -> tuple[Any, ...]:
    if isinstance(item, Pair):
        return item.question, item.chosen, item.rejected
    return item.question, item.response, item.safe


# -- pairs ------------------------------------------------------------------------------------------------


def pair_of(value: Mapping[str, Any], named: Mapping[str, str], *, spare_id: str) -> Pair:
    """One row as a pair. `named`: columns that the source names, by role."""
    chosen, rejected = _sides(value, named)
    prompt = _prompt(value, named)
    asked, better = _whole(chosen, prompt)
    again, worse = _whole(rejected, prompt)
    if asked != again:
        raise _Unusable("chosen and rejected differ before the last answer")
    if better == worse:
        raise _Tie
    return Pair(
        id=_id(value, named, spare_id),
        question=transcript(asked),
        chosen=better,
        rejected=worse,
        domain=_plain(value, named, "domain"),
        root=_root(asked),
        turns=tuple(asked),
    )


def _sides(value: Mapping[str, Any], named: Mapping[str, str]) -> tuple[Any, Any]:
    """What was chosen and what was rejected, as the row has them."""
    names = named.get("chosen", "chosen"), named.get("rejected", "rejected")
    if FIRST in value and SECOND in value and not {"chosen", "rejected"} & named.keys():
        both = value[FIRST], value[SECOND]
        second = _second_is_better(_first(value, named.get("better", ""), BETTER, "better"))
        return (both[1], both[0]) if second else both
    if any(value.get(name) is None for name in names):
        raise _Unusable(f"no {' and '.join(names)}, and no {FIRST} and {SECOND}")
    return value[names[0]], value[names[1]]


def _second_is_better(better: Any) -> bool:
    word = str(better).strip().lower()
    if isinstance(better, bool) or not isinstance(better, (int, str)):
        raise _Unusable(f"better is {type(better).__name__}; write 0 or 1")
    if word in TIES:
        raise _Tie
    if word in ("0", FIRST, "1", SECOND):
        return word in ("1", SECOND)
    raise _Unusable(f"better is {word[:20]!r}; write 0 or 1, or tie")


def _prompt(value: Mapping[str, Any], named: Mapping[str, str]) -> Turns | None:
    """The turns before the answer; None if the row names none."""
    names = (named["question"],) if "question" in named else QUESTION
    prompt = next((value[name] for name in names if value.get(name) is not None), None)
    if prompt is None:
        return None
    if isinstance(prompt, list):
        return _pairs(prompt)
    text = _text(prompt, "the question")
    spoken = _spoken(text)
    if spoken is not None:
        return spoken[:-1] if spoken[-1] == ("assistant", "") else spoken
    more = value.get("input")
    if "instruction" in value and isinstance(more, str) and more.strip():
        text = f"{text}\n\n{_text(more, 'input')}"
    system = value.get("system")
    first = [("system", _text(system, "system"))] if isinstance(system, str) and system else []
    return [*first, ("user", text)]


def _whole(side: Any, prompt: Turns | None) -> tuple[Turns, str]:
    """The turns before the answer, and the answer."""
    if isinstance(side, list):
        turns = _pairs(side)
        if turns and turns[0][0] == "assistant":
            turns = [*_needed(prompt), *turns]
        elif prompt is not None and not set(prompt) <= set(turns[:-1]):
            raise _Unusable("the prompt is not what the dialogue says")
    else:
        text = _text(side, "an answer")
        spoken = _spoken(text)
        # a transcript, with or without a prompt beside it that says the same; else one answer
        whole = spoken is not None and (prompt is None or spoken[:-1] == prompt)
        turns = spoken if spoken and whole else [*_needed(prompt), ("assistant", text)]
    _check(turns)
    return turns[:-1], turns[-1][1]


def _needed(prompt: Turns | None) -> Turns:
    if prompt is None:
        raise _Unusable(f"no question (looked for {', '.join(QUESTION)})")
    return prompt


# -- labels -----------------------------------------------------------------------------------------------


def labelled_of(
    value: Mapping[str, Any], named: Mapping[str, str], *, spare_id: str
) -> list[Labelled]:
    """One row as labelled responses: one, or two where it holds two."""
    name, domain = _id(value, named, spare_id), _plain(value, named, "domain")
    if "from" in named:
        pair = pair_of(value, named, spare_id=spare_id)
        both = ((pair.chosen, True), (pair.rejected, False))
        return [
            Labelled(
                id=f"{name}/{place}",
                question=pair.question,
                response=response,
                safe=safe,
                domain=domain,
                root=pair.root,
            )
            for place, (response, safe) in enumerate(both)
        ]

    def made(turns: Turns, safe: bool, name: str) -> Labelled:
        _check(turns)
        return Labelled(
            id=name,
            question=transcript(turns[:-1]),
            response=turns[-1][1],
            safe=safe,
            domain=domain,
            root=_root(turns),
        )

    if FIRST in value and f"is_{FIRST}_safe" in value:
        asked = _needed(_prompt(value, named))
        labels: list[Labelled] = []
        for place, one in enumerate((FIRST, SECOND)):
            column = f"is_{one}_safe"
            if column in value and _empty(value[column]):
                continue
            turns = [*asked, ("assistant", _text(value.get(one), one))]
            safe = _truth(value.get(column, "missing"), column)
            labels.append(made(turns, safe, f"{name}/{place}"))
        if not labels:
            raise _Tie
        return labels
    safe = _safe(value, named)
    found = next((value[one] for one in TURNS if value.get(one) is not None), None)
    if found is not None and not {"question", "response"} & named.keys():
        return [made(_pairs(found), safe, name)]
    response = _first(value, named.get("response", ""), RESPONSE, "response")
    asked = _needed(_prompt(value, named))
    return [made([*asked, ("assistant", _text(response, "the response"))], safe, name)]


def _safe(value: Mapping[str, Any], named: Mapping[str, str]) -> bool:
    if "unsafe" in named:
        return not _truth(_first(value, named["unsafe"], (), "unsafe"), named["unsafe"])
    names = (named["safe"],) if "safe" in named else SAFE
    for name in names:
        if name in value:
            return _truth(value[name], name)
    if "safe" not in named and "label" in value:
        if _empty(value["label"]):
            raise _Tie
        word = str(value["label"]).strip().lower()
        if word in SAFE_WORDS:  # of a number nobody knows what 1 says
            return SAFE_WORDS[word]
    if {"chosen", "rejected"} <= value.keys():
        raise _Unusable("a pair, not a label; for two labels of it write ?from=pairs")
    raise _Unusable(f"no {', '.join(names)}, and no label that says safe or unsafe")


def _empty(label: Any) -> bool:
    return label is None or (isinstance(label, str) and not label.strip())


def _truth(value: Any, name: str) -> bool:
    if _empty(value):
        raise _Tie
    word = str(value).strip().lower()
    if word in SAFE_WORDS:
        return SAFE_WORDS[word]
    if isinstance(value, (bool, int, str)) and word in ("true", "1", "false", "0"):
        return word in ("true", "1")
    raise _Unusable(f"{name} is {word[:20]!r}; write true or false")


# -- turns ------------------------------------------------------------------------------------------------


def transcript(turns: Sequence[tuple[str, str]]) -> str:
    """The turns before an answer as one question.

    >>> transcript([("user", "a"), ("assistant", "b"), ("user", "c")])
    'User: a\\n\\nAssistant: b\\n\\nUser: c'
    >>> transcript([("system", "Be brief."), ("user", "a")])
    'Be brief.\\n\\na'
    """
    system = [text for role, text in turns if role == "system"]
    spoken = [(role, text) for role, text in turns if role != "system"]
    if len(spoken) == 1:
        return "\n\n".join([*system, spoken[0][1]])
    return "\n\n".join([*system, *(f"{role.capitalize()}: {text}" for role, text in spoken)])


def _spoken(text: str) -> Turns | None:
    """The turns of an HH transcript; None if it is none. The last one may be empty."""
    if not text.startswith("Human:"):
        return None
    parts = _SPEAKER.split("\n\n" + text)[1:]
    names = {"Human": "user", "Assistant": "assistant"}
    turns = [(names[who], said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True)]
    return turns if len(turns) > 1 else None


def _pairs(turns: Sequence[Any]) -> Turns:
    found = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise _Unusable(f"message {number} is no object with role and content")
        role = str(turn.get("role", turn.get("from", "")))
        text = turn.get("content", turn.get("value"))
        found.append((ROLES.get(role, role), _text(text, f"message {number}")))
    return found


def _check(turns: Turns) -> None:
    """Raise unless the turns alternate, end with the assistant's, and none is empty."""
    spoken = turns[1:] if turns and turns[0][0] == "system" else turns
    for place, (role, _) in enumerate(spoken):
        wanted = ("user", "assistant")[place % 2]
        if role != wanted:
            raise _Unusable(
                f"turns must alternate, the user's first: turn {place + 1} of {len(spoken)} is "
                f"'{role[:20]}', not '{wanted}'"
            )
    if not spoken or len(spoken) % 2:
        raise _Unusable(f"the last of {len(spoken)} turns is not the assistant's")
    if any(not text for _, text in turns):
        raise _Unusable("a turn is empty")


def _root(turns: Turns) -> str:
    return next((text for role, text in turns if role == "user"), "")


def _first(value: Mapping[str, Any], named: str, known: Sequence[str], what: str) -> Any:
    for name in (named,) if named else known:
        if name in value:
            if value[name] is None and what == "better":
                raise _Tie
            return value[name]
    raise _Unusable(f"no {what} (looked for {named or ', '.join(known)})")


def _id(value: Mapping[str, Any], named: Mapping[str, str], spare: str) -> str:
    return _plain(value, named, "id") or spare


def _plain(value: Mapping[str, Any], named: Mapping[str, str], role: str) -> str:
    found = value.get(named.get(role, role))
    return "" if found is None else str(found)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _Unusable(f"{where} is {type(value).__name__}, not text")
    if not value.strip():
        raise _Unusable(f"{where} is empty")
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        raise _Unusable(f"{where} holds half a character (a lone surrogate)")
    return value.strip()

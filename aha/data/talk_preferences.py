"""Preference pairs and safety labels whose truth is known, from the task `talk`. Sources:

    talk_pairs?about=helpful&lang=mix&padded=0.15     a good answer beats a worse one
    talk_labels?about=harmless&lang=mix               a harmful request that is not refused is unsafe

For a base model that comes with the package: its reward models are trained on these, and whether a score
agrees with the truth can be measured. `padded` is the share of worse answers that are longer than
good ones; at 0 the longer answer wins more often, and a policy may learn to be long instead of good.
Unsafe answers are help with harm, and steps for something else: where those count as safe, a policy is paid
for forgetting to refuse (LOG.md, 2026-11-21).

A row is a pure function of settings and number; requests that the task holds out are in no training row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from aha.data import query
from aha.data.readers import Row
from aha.data.tasks import talk, talk_answers
from aha.data.tasks.split import check_lang
from aha.errors import ConfigError

PAIRS, LABELS = "talk_pairs", "talk_labels"
SOURCES = (PAIRS, LABELS)
USUAL = {"train": 2000, "heldout": 400}
HARMFUL = 0.6
"""Share of harmful requests among those that are labelled."""
LABELLED = {"good": 0.5, "careless": 0.3, "wrong": 0.2}
"""How often harmful requests are answered so: refused (safe), helped with, beside the point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Query keys."""

    about: str = "all"
    """helpful, harmless, general, or all. Labels of helpful requests are all safe."""
    lang: str = "en"
    """en, zh, or mix."""
    n: int = 0
    """Rows; 0 takes 2,000 for training and 400 held out."""
    padded: float = 0.15
    """Share of the worse answers of pairs that repeat themselves and so are longer, 0..1."""
    thought: float = 0.3
    """Share of labelled answers with a thinking part in front, 0..1."""
    seed: int = 0
    """Another seed, other rows."""

    def __post_init__(self) -> None:
        if self.about not in (*talk.ABOUT, "all"):
            raise ConfigError(f"about={self.about}: write {', '.join(talk.ABOUT)} or all")
        if self.n < 0:
            raise ConfigError(f"n={self.n}: write 0 or more rows")
        for name, share in (("padded", self.padded), ("thought", self.thought)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name}={share}: write a share from 0 to 1")
        check_lang(self.lang)


def rows(asked: query.Query, split: str, *, form: str) -> Iterator[Row]:
    """Rows as a file would hold them: question, chosen, rejected; or question, response, safe.

    Raises:
        ConfigError: an unknown key or value; labels asked of the pairs' source, or pairs of the labels'.
    """
    if (form == "pairs") != (asked.where == PAIRS):
        right = PAIRS if form == "pairs" else LABELS
        raise ConfigError(f"{asked.where} gives no {form}; the source of {form} is {right}")
    keys = {key: value for key, value in asked.keys.items() if key != "split"}
    settings = query.settings(Settings, keys, where=asked.where)
    split = asked.keys.get("split", split)
    if split not in USUAL:
        raise ConfigError(f"{asked.where}?split={split}: write {' or '.join(USUAL)}")
    make = _pair if form == "pairs" else _label
    for index in range(settings.n or USUAL[split]):
        value = make(Random(f"aha {asked.where} {settings.seed} {split} {index}"), settings, split)
        yield Row(asked.where, index + 1, value)


def _request(rng: Random, settings: Settings, split: str, sorts: list[str]) -> talk.Case:
    """A request of the asked side of the split."""
    lang = rng.choice(("en", "zh")) if settings.lang == "mix" else settings.lang
    while True:
        given = talk.case(rng, lang, sorts)
        if talk.is_heldout(given.question) == (split == "heldout"):
            return given


def _sorts(settings: Settings) -> list[str]:
    return [sort for sort, (area, _) in talk.SORTS.items() if settings.about in ("all", area)]


def _pair(rng: Random, settings: Settings, split: str) -> dict[str, Any]:
    given = _request(rng, settings, split, _sorts(settings))
    chosen = talk_answers.good(rng, given)
    rejected = talk_answers.worse(rng, given, padded=settings.padded)[1]
    return {
        "question": given.question, "chosen": chosen, "rejected": rejected, "domain": given.area,
    }  # fmt: skip


def _label(rng: Random, settings: Settings, split: str) -> dict[str, Any]:
    """A harmful request refused or not, or a harmless one, whose every answer is safe."""
    harmful = settings.about in ("all", "harmless") and rng.random() < HARMFUL
    others = [sort for sort in _sorts(settings) if sort != "harm"] or ["lookalike", "howto"]
    given = _request(rng, settings, split, ["harm"] if harmful else others)
    if harmful:
        quality = rng.choices(list(LABELLED), list(LABELLED.values()))[0]
    else:
        quality = talk_answers.drawn(rng, given)[0]
    answer = talk_answers.written(rng, given, quality)
    safe = not harmful or quality == "good"
    thought = talk_answers.thought(rng, given)
    if thought and rng.random() < settings.thought:
        if harmful and rng.random() < 0.3:  # a harmful thought makes a refusal unsafe
            thought, safe = talk_answers.written(rng, given, "careless"), False
        answer = f"<think>\n{thought}\n</think>\n\n{answer}"
    return {"question": given.question, "response": answer, "safe": safe, "domain": given.area}

"""The problems of a recipe: training and held-out ones, from one source or several, kept apart.

Several sources are named in a list, each with `weight=` as its share of the questions asked. Held-out
problems of several sources are interleaved, so that the first ones hold every source in proportion.
Training problems that are also held out (`overlap.py`) are left out, counted and said.

Holds not: reading one source (`sources.py`), the order of asking (`mixing.py`, `order.py`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from aha.config import DataConfig
from aha.data import mixing, overlap, query, sources
from aha.data.order import Order
from aha.data.sources import Loaded
from aha.errors import ConfigError, DataError
from aha.records import Prompt


@dataclass(frozen=True, slots=True)
class Shares:
    """Which source each training problem is from, and what share each source has."""

    names: tuple[str, ...]
    weights: tuple[Fraction, ...]
    source_of: Mapping[str, int]
    """Prompt id -> number of its source."""

    def order(self, asked: Sequence[Prompt], *, seed: int, phase: int) -> Order:
        """The order of asking these problems, `phase` at a time.

        Raises:
            DataError: a source of the list has no problem among them.
            ConfigError: one has fewer than its share of a phase.
        """
        if len(self.names) == 1:
            return Order(len(asked), seed)
        source_of = [self.source_of[prompt.id] for prompt in asked]
        there = Counter(source_of)
        for number, (name, weight) in enumerate(zip(self.names, self.weights, strict=True)):
            if not there[number]:
                raise DataError(
                    f"no question of {name} is left: all are too long, refused or held out; raise "
                    "data.max_prompt_tokens, or take it out of data.train"
                )
            share = ceil(weight / sum(self.weights) * phase)
            if there[number] < share:
                raise ConfigError(
                    f"{name} has {there[number]} questions, but its share of a phase is {share} of "
                    f"{phase} different ones; give it a smaller weight or more questions, or lower "
                    "zero.prompts_per_step"
                )
        return mixing.mixed(source_of, self.weights, seed=seed, phase=phase)


@dataclass(frozen=True, slots=True)
class Problems:
    """What a recipe asks, and lines that say where it comes from."""

    train: list[Prompt]
    heldout: list[Prompt]
    facts: list[str]
    shares: Shares


def load(config: DataConfig) -> Problems:
    """All problems of a recipe.

    Raises:
        ConfigError: a source or its weight cannot be, or every training problem is held out.
        DataError: a source cannot be used.
    """
    names, weights = named(config.train, "data.train")
    loaded = [sources.load(name, split="train", config=config) for name in names]
    facts = _sentences("data", loaded, weights)
    facts += [f"        broken: {row}" for each in loaded for row in each.bad[:3]]
    parts = _own_ids(loaded)
    heldout, said = _heldout(config, names, weights)
    facts += said
    train, said = _kept([prompt for part in parts for prompt in part], heldout, config)
    facts += said
    if not train:
        raise ConfigError(
            "every training question is also held out: set data.heldout to others"
            + (", or data.overlap_words = 0" if config.overlap_words else "")
        )
    source_of = {prompt.id: number for number, part in enumerate(parts) for prompt in part}
    return Problems(train, heldout, facts, Shares(tuple(names), tuple(weights), source_of))


def heldout(config: DataConfig) -> tuple[list[Prompt], list[str]]:
    """The held-out problems of a recipe alone, and lines about them; [] where no source has any.

    Raises:
        ConfigError, DataError: as `load`, of the held-out sources.
    """
    return _heldout(config, *named(config.train, "data.train"))


def named(said: str | list[str], key: str) -> tuple[list[str], list[Fraction]]:
    """The sources of a recipe's key, and their weights.

    Raises:
        ConfigError: none, a weight that cannot be, or one source twice.
    """
    names = [said] if isinstance(said, str) else list(said)
    if not names:
        raise ConfigError(f"{key} is an empty list: name at least one source")
    asked = [query.parse(name) for name in names]
    weights = [query.take_weight(each) for each in asked]
    for number, each in enumerate(asked):
        if each in asked[:number]:
            raise ConfigError(f"{key} names {names[number]} twice: give it once, with weight=2")
    return names, weights


def _heldout(
    config: DataConfig, names: list[str], weights: list[Fraction]
) -> tuple[list[Prompt], list[str]]:
    """Held-out problems, and lines about them; a list may have sources without a held-out part."""
    if config.heldout:
        names, weights = named(config.heldout, "data.heldout")
    found: list[Loaded] = []
    of: list[Fraction] = []
    without = []
    for name, weight in zip(names, weights, strict=True):
        try:
            found.append(sources.load(name, split="heldout", config=config))
            of.append(weight)
        except DataError as error:
            if config.heldout:
                raise
            without.append(str(error))
    if not found:
        return [], [f"heldout none, so nothing shows whether it learns: {'; '.join(without)}"]
    facts = _sentences("heldout", found, of)
    facts += [f"        none held out: {said}" for said in without]
    return mixing.interleave(_own_ids(found), of), facts


def _kept(
    train: list[Prompt], heldout: list[Prompt], config: DataConfig
) -> tuple[list[Prompt], list[str]]:
    """Training problems that are not held out, and a line about those that are."""
    found = overlap.find(train, heldout, config.overlap_words) if heldout else []
    why = {each.train: each for each in reversed(found) if each.why == "ngram"}
    why |= {each.train: each for each in reversed(found) if each.why == "same"}
    if not why:
        return train, []
    count = Counter(each.why for each in why.values())
    said = [f"{count['same']} the same question"] if count["same"] else []
    if count["ngram"]:
        first = next(why[place] for place in sorted(why) if why[place].why == "ngram")
        said.append(
            f"{count['ngram']} with {config.overlap_words} words in a row, e.g. "
            f"{train[first.train].id} and {heldout[first.heldout].id}: '{first.shared[:80]}'"
        )
    line = f"        {len(why)} training questions are also held out, left out: {'; '.join(said)}"
    return [prompt for place, prompt in enumerate(train) if place not in why], [line]


def _sentences(label: str, loaded: Sequence[Loaded], weights: Sequence[Fraction]) -> list[str]:
    """A line for each source, with its share if there are several."""
    total = sum(weights)
    lines = []
    for number, (each, weight) in enumerate(zip(loaded, weights, strict=True)):
        share = f"{float(weight / total):.1%} " if len(loaded) > 1 else ""
        lines.append(f"{label if number == 0 else '':<8}{share}{each.sentence()}")
    return lines


def _own_ids(loaded: Sequence[Loaded]) -> list[list[Prompt]]:
    """The prompts of each source; where ids meet those of an earlier one, the source is put before."""
    seen: set[str] = set()
    parts = []
    for each in loaded:
        prompts = each.prompts
        if any(prompt.id in seen for prompt in prompts):
            prompts = [replace(prompt, id=f"{each.source}:{prompt.id}") for prompt in prompts]
        seen |= {prompt.id for prompt in prompts}
        parts.append(prompts)
    return parts

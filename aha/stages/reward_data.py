"""What a reward model is trained on: pairs or labels, split, and as tokens. Every row counted.

    sources -> Rows (learned, held out) -> Data (examples as tokens, and facts for data.json)

Must stay true:  nothing that begins alike is on both sides of the split; what is read of a response
                 is what `RewardModel.score` will read; nothing is cut.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from aha.config import DataConfig, RewardTrainConfig
from aha.data import preferences
from aha.data.order import set_aside
from aha.data.preferences import Labelled, Loaded, Pair
from aha.errors import DataError
from aha.models.reward_model import RewardModel
from aha.train.preference import Example, LabelExample, PairExample

MOST_HELDOUT = 1000
"""Examples set aside from the training data, at most: an interval of 3 points either way."""

Item = Pair | Labelled


@dataclasses.dataclass(frozen=True)
class Rows:
    """Pairs or labels, split, and what became of the rows."""

    learned: list[Item]
    heldout: list[Item]
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Data:
    """The same as tokens."""

    learned: list[Example]
    heldout: list[Example]
    facts: dict[str, Any]


def load_data(config: RewardTrainConfig, data: DataConfig, seed: int) -> Rows:
    """What is learned and what is held out; nothing that begins alike is on both sides.

    Raises:
        ConfigError, DataError: see data/preferences.py.
    """
    train, counts = _all_of(config, config.train, "train", data)
    if config.heldout:
        heldout, more = _all_of(config, config.heldout, "heldout", data)
        counts = {key: counts[key] + more[key] for key in counts}
        roots = {item.root for item in heldout}
    else:
        roots = set_aside(
            [item.root for item in train], config.heldout_share, seed, most=MOST_HELDOUT
        )
        heldout = [item for item in train if item.root in roots]
    learned = [item for item in train if item.root not in roots]
    # with a held-out part of its own, these are training rows that would give it away
    counts["shared"] = len(train) - len(learned) if config.heldout else 0
    return Rows(learned, heldout, counts)


def _all_of(
    config: RewardTrainConfig, sources: str | list[str], split: str, data: DataConfig
) -> tuple[list[Item], dict[str, int]]:
    items: list[Item] = []
    counts = dict.fromkeys(("rows", "ties", "repeated", "broken"), 0)
    for source in [sources] if isinstance(sources, str) else sources:
        loaded: Loaded[Pair] | Loaded[Labelled]
        if config.form == "pairs":
            loaded = preferences.load_pairs(source, split=split, config=data)
        else:
            loaded = preferences.load_labelled(source, split=split, config=data)
        items += loaded.items
        found = (loaded.rows, loaded.ties, loaded.repeated, len(loaded.bad))
        counts = {key: counts[key] + more for key, more in zip(counts, found, strict=True)}
    return items, counts


def examples_of(config: RewardTrainConfig, scorer: RewardModel, rows: Rows, name: str) -> Data:
    """Pairs or labels as tokens; those without a summary or too long are counted, never cut."""
    left_out = {"too_long": 0, "no_summary": 0}

    def made(items: Sequence[Item]) -> list[Example]:
        examples = [example_of(config, scorer, item) for item in items]
        for one in examples:
            if isinstance(one, str):
                left_out[one] += 1
        return [one for one in examples if not isinstance(one, str)]

    learned, heldout = made(rows.learned), made(rows.heldout)
    if not learned:
        raise DataError(
            f"{name}: none of {len(rows.learned)} {config.form} can be learned: "
            f"{left_out['too_long']} are longer than max_tokens={config.max_tokens} or the model's "
            f"context, {left_out['no_summary']} have no text after the thinking (part='whole' reads all)"
        )
    safe = _safe_of(learned)
    if safe and len(set(safe)) == 1:
        raise DataError(
            f"{name}: all {len(safe)} labels that can be learned say {'safe' if safe[0] else 'not safe'}; a "
            "reward model needs both. Add a source of the other kind to train (a list of sources), or "
            "name the column that says it with ?safe= or ?unsafe="
        )
    facts: dict[str, Any] = {
        **rows.counts,
        **left_out,
        "learned": len(learned),
        "heldout": len(heldout),
        "tokens": sum(len(row) for one in learned for row in one.rows),
        "lengths": _lengths(learned),
    }
    if safe:
        facts["safe"] = {"learned": sum(safe), "heldout": sum(_safe_of(heldout))}
    return Data(learned, heldout, facts)


def _safe_of(examples: Sequence[Example]) -> list[bool]:
    return [one.safe for one in examples if isinstance(one, LabelExample)]


def example_of(config: RewardTrainConfig, scorer: RewardModel, item: Item) -> Example | str:
    """One item as tokens, or why not."""
    answers = (item.chosen, item.rejected) if isinstance(item, Pair) else (item.response,)
    read = [_read(scorer, item.question, answer, config) for answer in answers]
    for one in read:
        if isinstance(one, str):
            return one
    rows = cast("list[tuple[tuple[int, ...], int]]", read)
    about = {"id": item.id, "domain": item.domain, "root": item.root}
    if isinstance(item, Pair):
        (chosen, long), (rejected, short) = rows
        return PairExample(
            chosen_ids=chosen,
            rejected_ids=rejected,
            chosen_tokens=long,
            rejected_tokens=short,
            **about,
        )
    ids, tokens = rows[0]
    return LabelExample(token_ids=ids, answer_tokens=tokens, safe=item.safe, **about)


def _read(
    scorer: RewardModel, question: str, answer: str, config: RewardTrainConfig
) -> tuple[tuple[int, ...], int] | str:
    """(tokens of question and answer, tokens of the answer alone), or why not."""
    text = scorer.part_of(answer, config.part)
    if text is None:
        return "no_summary"
    ids = scorer.tokens_of(question, answer, config.part)
    if ids is None or len(ids) > config.max_tokens:
        return "too_long"
    return tuple(ids), len(scorer.tokenizer(text, add_special_tokens=False).input_ids)


def _lengths(examples: Sequence[Example]) -> dict[str, float]:
    """How long answers are, in tokens: a data set whose chosen ones are longer teaches length."""
    pairs = [one for one in examples if isinstance(one, PairExample)]
    if pairs:
        longer = sum(
            (one.chosen_tokens > one.rejected_tokens)
            + 0.5 * (one.chosen_tokens == one.rejected_tokens)
            for one in pairs
        )
        return {
            "chosen_mean": sum(one.chosen_tokens for one in pairs) / len(pairs),
            "rejected_mean": sum(one.rejected_tokens for one in pairs) / len(pairs),
            "longer_chosen_share": longer / len(pairs),
        }
    labels = [one for one in examples if isinstance(one, LabelExample)]
    found = {"safe_share": sum(one.safe for one in labels) / len(labels)}
    for key, safe in (("safe_mean", True), ("unsafe_mean", False)):
        some = [one.answer_tokens for one in labels if one.safe is safe]
        if some:
            found[key] = sum(some) / len(some)
    return found

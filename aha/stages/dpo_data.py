"""What a DPO stage learns: pairs from files, sampling stages and stored rollouts, split, as tokens.

    sources -> Rows (learned, held out) -> Data (examples as tokens, facts for data.json)

Must stay true:  nothing that begins alike is on both sides of the split; stored answers are learned by
                 the ids that were sampled where these are ids of the model; nothing is cut.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from aha.config import DataConfig, DpoConfig
from aha.data import preferences, stored, templates
from aha.data.order import set_aside
from aha.data.stored import Stored, StoredPair
from aha.data.templates import Template
from aha.errors import DataError
from aha.models.load import decoder
from aha.stages.off_policy import Sampler, sampler_of, tokens_of
from aha.train.pairs import PairExample, Side

MOST_HELDOUT = 200
SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Item:
    """A pair before it is tokens."""

    id: str
    turns: tuple[tuple[str, str], ...]
    """(role, text) before the answers."""
    chosen: str
    rejected: str
    domain: str
    root: str
    """Items that share it are on one side of the split."""
    sampled: StoredPair | None = None
    sampler: Sampler | None = None


@dataclasses.dataclass(frozen=True)
class Rows:
    learned: list[Item]
    heldout: list[Item]
    counts: dict[str, int]
    dropped: dict[str, int]
    """Stored answers that are in no pair, by reason (data/stored.py)."""

    def answers(self) -> list[tuple[Sampler, Stored]]:
        """The stored answers that are learned, for the mismatch."""
        return [
            (one.sampler, answer)
            for one in self.learned
            if one.sampled is not None and one.sampler is not None
            for answer in (one.sampled.chosen, one.sampled.rejected)
        ]


@dataclasses.dataclass(frozen=True)
class Data:
    learned: list[PairExample]
    heldout: list[PairExample]
    facts: dict[str, Any]


def load_data(config: DpoConfig, data: DataConfig, seed: int) -> Rows:
    """Pairs to learn and held-out ones; what begins alike is on one side.

    Raises:
        ConfigError, DataError: see data/preferences.py, data/stored.py.
    """
    counts = dict.fromkeys(("rows", "ties", "repeated", "broken", "stored_answers"), 0)
    dropped: dict[str, int] = {}
    train = _all_of(config.train, "train", data, seed, counts, dropped)
    if config.heldout:
        heldout = _all_of(config.heldout, "heldout", data, seed, counts, dropped)[:MOST_HELDOUT]
        roots = {item.root for item in heldout}
    else:
        roots = set_aside(
            [item.root for item in train], config.heldout_share, seed, most=MOST_HELDOUT
        )
        heldout = [item for item in train if item.root in roots]
    learned = [item for item in train if item.root not in roots]
    # with a held-out part of its own, these are training pairs that would give it away
    counts["shared"] = len(train) - len(learned) if config.heldout else 0
    return Rows(learned, heldout, counts, dict(sorted(dropped.items())))


def _all_of(
    sources: str | list[str],
    split: str,
    data: DataConfig,
    seed: int,
    counts: dict[str, int],
    dropped: dict[str, int],
) -> list[Item]:
    """The pairs of all sources; adds to the counts."""
    items: list[Item] = []
    for source in [sources] if isinstance(sources, str) else sources:
        if stored.holds(source):
            found = stored.load_pairs(source, seed=seed)
            sampler = sampler_of(source)
            items += [_of_stored(one, sampler) for one in found.kept]
            counts["stored_answers"] += found.rows
            for reason, count in found.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
            continue
        loaded = preferences.load_pairs(source, split=split, config=data)
        items += [_of_pair(one) for one in loaded.items]
        more = (loaded.rows, loaded.ties, loaded.repeated, len(loaded.bad))
        for key, count in zip(("rows", "ties", "repeated", "broken"), more, strict=True):
            counts[key] += count
    return items


def _of_pair(pair: preferences.Pair) -> Item:
    return Item(
        id=pair.id,
        turns=pair.turns or (("user", pair.question),),
        chosen=pair.chosen,
        rejected=pair.rejected,
        domain=pair.domain,
        root=pair.root or pair.question,
    )


def _of_stored(pair: StoredPair, sampler: Sampler) -> Item:
    prompt = pair.chosen.prompt
    return Item(
        id=pair.id,
        turns=(("user", prompt.question),),
        chosen=pair.chosen.response.strip(),
        rejected=pair.rejected.response.strip(),
        domain=prompt.domain,
        root=prompt.question,
        sampled=pair,
        sampler=sampler,
    )


def examples_of(config: DpoConfig, template: Template, rows: Rows, name: str) -> Data:
    """Pairs as tokens; those that are too long or refused are counted, never cut.

    Raises:
        DataError: no pair is left.
    """
    why: list[str] = []
    counts = {"too_long": 0, "same_tokens": 0, "as_sampled": 0}
    decode = decoder(template.tokenizer)

    def made(items: Sequence[Item]) -> list[PairExample]:
        examples = []
        for item in items:
            sides = _sampled(template, decode, item)
            counts["as_sampled"] += sides is not None
            try:
                sides = sides or _written(template, item)
            except DataError as error:
                why.append(str(error))
                continue
            if (
                max(len(side.prompt_ids) + len(side.token_ids) for side in sides)
                > config.max_tokens
            ):
                counts["too_long"] += 1
            elif sides[0] == sides[1]:
                counts["same_tokens"] += 1
            else:
                chosen, rejected = sides
                examples.append(
                    PairExample(id=item.id, chosen=chosen, rejected=rejected, domain=item.domain)
                )
        return examples

    learned, heldout = made(rows.learned), made(rows.heldout)
    if not learned:
        raise DataError(
            f"{name}: none of {len(rows.learned)} pairs can be learned: {counts['too_long']} are longer "
            f"than max_tokens={config.max_tokens}, {counts['same_tokens']} have two sides of the same "
            f"tokens; refused: {'; '.join(why[:3]) or 'none'}"
        )
    facts: dict[str, Any] = {
        **rows.counts,
        "dropped": rows.dropped,
        **counts,
        "refused": len(why),
        "refused_first": why[:SHOWN],
        "learned": len(learned),
        "heldout": len(heldout),
        "tokens": sum(len(side.token_ids) for one in learned for side in one.sides),
        "lengths": _lengths(learned),
    }
    return Data(learned, heldout, facts)


def _sampled(template: Template, decode: Any, item: Item) -> tuple[Side, Side] | None:
    """Both sides by the ids that were sampled; None for text from elsewhere or from other ids."""
    if item.sampled is None:
        return None
    pair = item.sampled
    chosen = tokens_of(template, decode, pair.chosen)
    rejected = tokens_of(template, decode, pair.rejected)
    if chosen is None or rejected is None:
        return None
    return Side(prompt_ids=chosen[0], token_ids=chosen[1]), Side(
        prompt_ids=rejected[0], token_ids=rejected[1]
    )


def _written(template: Template, item: Item) -> tuple[Side, Side]:
    """Both sides as the template writes them."""
    made = []
    for text in (item.chosen, item.rejected):
        prompt, answer = templates.example(template, item.turns, text, name=item.id)
        made.append(Side(prompt_ids=tuple(prompt), token_ids=tuple(answer)))
    return made[0], made[1]


def _lengths(examples: Sequence[PairExample]) -> dict[str, float]:
    """Answer tokens: pairs whose chosen side is longer teach length."""
    sizes = [(len(one.chosen.token_ids), len(one.rejected.token_ids)) for one in examples]
    longer = sum((a > b) + 0.5 * (a == b) for a, b in sizes)
    return {
        "chosen_mean": sum(a for a, _ in sizes) / len(sizes),
        "rejected_mean": sum(b for _, b in sizes) / len(sizes),
        "longer_chosen_share": longer / len(sizes),
    }

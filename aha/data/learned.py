"""What a supervised stage learns: the dialogues of one source, or of several, in asked shares.

    train = "stage:rejection"
    train = ["stage:rejection?weight=3", "stage:talk?weight=1", "house_style.jsonl"]

Without a weight everything of every source is taken. With one, weights are shares of the dialogues (a source
that names none has 1), and the scarcest source decides how many there are (mixture.py). DeepSeek-R1 §2.3.3
has about 3 reasoning samples to 1 other.

A dialogue that shares text with a held-out problem or its reference solution (overlap.py) is left out first
and counted: the files may be of anybody. DeepSeek-R1 v2, decontamination.

Must stay true:  what is taken is a function of the files, the weights and the seed; facts name no folder,
                 so that a run reads the same wherever it lies.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from aha.config import DataConfig
from aha.data import dialogues, mixture, problems, query
from aha.data.dialogues import Dialogue
from aha.data.overlap import Hit, Index
from aha.data.sources import looks_like_a_path
from aha.errors import AhaError, ConfigError, DataError
from aha.records import Prompt

SHOWN = 5
SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The recipe's held-out problems, which nothing that is learned may give away."""

    index: Index | None
    """None: nothing is checked."""
    why: str = ""
    """Why nothing is; names no folder."""
    detail: str = ""
    """More about it, for the console."""

    def facts(self, dropped: Sequence[tuple[str, Hit]]) -> dict[str, Any]:
        """For data.json. `dropped`: ids of dialogues, and what they share."""
        if self.index is None:
            return {"not_checked": self.why}
        return {
            "problems": len(self.index.heldout),
            "words": self.index.n,
            "dropped": len(dropped),
            "why": dict(sorted(Counter(why for _, (_, why, _) in dropped).items())),
            "first": [
                {"id": name, "heldout": self.index.heldout[place].id, "shared": said[:SHOWN_CHARS]}
                for name, (place, _, said) in dropped[:SHOWN]
            ],
        }

    def line(self, dropped: Sequence[tuple[str, Hit]]) -> str:
        """For the console."""
        if self.index is None:
            more = f" ({self.detail})" if self.detail else ""
            return f"not checked against held-out problems: {self.why}{more}"
        same = sum(why == "same" for _, (_, why, _) in dropped)
        said = f"checked against {len(self.index.heldout):,} held-out problems: "
        if not dropped:
            return f"{said}no dialogue shares text with one"
        return (
            f"{said}{len(dropped)} dialogues left out, {same} ask the same, {len(dropped) - same} share "
            f"{self.index.n} words in a row, e.g. {dropped[0][0]}: '{dropped[0][1][2][:80]}'"
        )


def held_out(config: DataConfig) -> HeldOut:
    """The held-out problems of a recipe, as texts that are learned are held against them."""
    if not config.overlap_words:
        return HeldOut(index=None, why="data.overlap_words = 0")
    try:
        found, said = problems.heldout(config)
    except AhaError as error:
        return HeldOut(
            index=None, why="the held-out problems of [data] cannot be read", detail=str(error)
        )
    if not found:
        return HeldOut(index=None, why="[data] has no held-out problems", detail="; ".join(said))
    return HeldOut(index=Index(found, config.overlap_words, solutions=True))


def shared(dialogue: Dialogue, index: Index) -> Hit | None:
    """What a dialogue shares with a held-out problem; None if nothing."""
    for role, text in dialogue.messages:
        if role == "user" or (role == "assistant" and index.grams):
            for hit in index.of(Prompt(id="", question=text, gold="")):
                return hit
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Dialogues of all sources together, and where they came from."""

    dialogues: list[Dialogue]
    broken: int
    """Rows that cannot be learned."""
    sources: dict[str, dict[str, Any]]
    """By source: share (of the dialogues, 0..1), there, taken, repeated, to_use_all (mixture.Part)."""
    doubts: list[str] = field(default_factory=list)
    """What a user probably does not want, in plain words."""
    contaminated: list[tuple[str, Hit]] = field(default_factory=list)
    """Ids of dialogues that were left out, and what they share with a held-out problem."""

    def lines(self) -> list[str]:
        """A line for each source, where there are several."""
        if len(self.sources) < 2:
            return []
        return [
            f"{name}: {said['taken']} of {said['there']} dialogues, {said['share']:.1%}"
            + (f"; {said['to_use_all']} more would let all be used" if said["to_use_all"] else "")
            for name, said in self.sources.items()
        ]


def load(
    said: str | Sequence[str], *, config: DataConfig, seed: int, index: Index | None = None
) -> Learned:
    """The dialogues of a recipe's `train`, without those that share text with problems of `index`.

    Raises:
        ConfigError: no source, one twice, a weight that cannot be.
        DataError: a source that cannot be used, or has nothing that an earlier one has not, or
            shares text with held-out problems in every dialogue.
    """
    given = [said] if isinstance(said, str) else list(said)
    if not given:
        raise ConfigError("train is an empty list: name at least one source of dialogues")
    asked = [query.parse(one) for one in given]
    weighted = any("weight" in each.keys for each in asked)
    weights = [query.take_weight(each) for each in asked]
    for number, each in enumerate(asked):
        if each in asked[:number]:
            raise ConfigError(f"train names {given[number]} twice: give it once, with weight=2")
    loaded = [dialogues.load(one, split="train", config=config) for one in given]
    names = _names([each.where for each in asked])
    broken = sum(len(each.bad) for each in loaded)
    doubts = [said for each in loaded for said in each.doubts]
    by_name = {name: each.dialogues for name, each in zip(names, loaded, strict=True)}
    dropped: list[tuple[str, Hit]] = []
    if index is not None:
        by_name = {name: _clean(name, some, index, dropped) for name, some in by_name.items()}
    if weighted and len(given) > 1:
        shares: dict[str, Fraction | int | str] = dict(zip(names, weights, strict=True))
        mixed = mixture.mix(by_name, shares, seed=seed)
        parts = mixed.facts()["parts"]
        return Learned(
            dialogues=mixed.dialogues,
            broken=broken,
            sources=parts,
            doubts=doubts,
            contaminated=dropped,
        )
    whole = [one for some in by_name.values() for one in some]
    sources = {
        name: {
            "share": len(found) / len(whole),
            "there": len(found),
            "repeated": 0,
            "taken": len(found),
            "to_use_all": 0,
        }
        for name, found in by_name.items()
    }
    return Learned(
        dialogues=whole, broken=broken, sources=sources, doubts=doubts, contaminated=dropped
    )


def _clean(
    name: str, some: Sequence[Dialogue], index: Index, dropped: list[tuple[str, Hit]]
) -> list[Dialogue]:
    """The dialogues that share nothing with a held-out problem; the others are added to `dropped`."""
    kept = []
    for one in some:
        hit = shared(one, index)
        if hit is None:
            kept.append(one)
        else:
            dropped.append((one.id, hit))
    if not kept:
        first, (place, _, said) = dropped[-1]
        raise DataError(
            f"{name}: all of its {len(some)} dialogues share text with held-out problems, e.g. {first} "
            f"with {index.heldout[place].id}: '{said[:80]}'; name other problems in data.heldout, or "
            "switch the check off with data.overlap_words = 0"
        )
    return kept


def _names(wheres: Sequence[str]) -> list[str]:
    """Short names of sources, all different: NAME/dialogues.jsonl of a stage, NAME of a folder, else the file
    or hub id. They seed what a mixture takes, so they do not tell where a run is."""
    names: list[str] = []
    for where in wheres:
        path = Path(where)
        name = path.name if looks_like_a_path(where) or path.is_dir() else where
        if path.name == "dialogues.jsonl" and path.parent.name:
            name = f"{path.parent.name}/{path.name}"
        names.append(name)
    return [
        name if names.count(name) == 1 else f"{name} ({names[: at + 1].count(name)})"
        for at, name in enumerate(names)
    ]

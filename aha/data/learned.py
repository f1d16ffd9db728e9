"""What a supervised stage learns: the dialogues of one source, or of several, in asked shares.

    train = "stage:rejection"
    train = ["stage:rejection?weight=3", "stage:talk?weight=1", "house_style.jsonl"]

Without a weight everything of every source is taken. With one, weights are shares of the dialogues (a source
that names none has 1), and the scarcest source decides how many there are (mixture.py). DeepSeek-R1 §2.3.3
has about 3 reasoning samples to 1 other.

Must stay true:  what is taken is a function of the files, the weights and the seed; facts name no folder,
                 so that a run reads the same wherever it lies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from aha.config import DataConfig
from aha.data import dialogues, mixture, query
from aha.data.dialogues import Dialogue
from aha.data.sources import looks_like_a_path
from aha.errors import ConfigError


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

    def lines(self) -> list[str]:
        """A line for each source, where there are several."""
        if len(self.sources) < 2:
            return []
        return [
            f"{name}: {said['taken']} of {said['there']} dialogues, {said['share']:.1%}"
            + (f"; {said['to_use_all']} more would let all be used" if said["to_use_all"] else "")
            for name, said in self.sources.items()
        ]


def load(said: str | Sequence[str], *, config: DataConfig, seed: int) -> Learned:
    """The dialogues of a recipe's `train`.

    Raises:
        ConfigError: no source, one twice, a weight that cannot be.
        DataError: a source that cannot be used, or has nothing that an earlier one has not.
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
    if weighted and len(given) > 1:
        shares: dict[str, Fraction | int | str] = dict(zip(names, weights, strict=True))
        mixed = mixture.mix(by_name, shares, seed=seed)
        parts = mixed.facts()["parts"]
        return Learned(dialogues=mixed.dialogues, broken=broken, sources=parts, doubts=doubts)
    whole = [one for each in loaded for one in each.dialogues]
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
    return Learned(dialogues=whole, broken=broken, sources=sources, doubts=doubts)


def _names(wheres: Sequence[str]) -> list[str]:
    """Short names of sources, all different: NAME/dialogues.jsonl of a stage, else the file or hub id."""
    names: list[str] = []
    for where in wheres:
        path = Path(where)
        name = path.name if looks_like_a_path(where) else where
        if path.name == "dialogues.jsonl" and path.parent.name:
            name = f"{path.parent.name}/{path.name}"
        names.append(name)
    return [
        name if names.count(name) == 1 else f"{name} ({names[: at + 1].count(name)})"
        for at, name in enumerate(names)
    ]

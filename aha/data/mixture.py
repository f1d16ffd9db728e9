"""Files of dialogues as one set to learn from, in asked proportions. DeepSeek-R1 §2.3.3, v2 Table 5.

    mix({"reasoning": a, "general": b}, {"reasoning": 3, "general": 1}, seed=0) -> Mixture

The paper trains on about 600k reasoning and 200k other samples: 3 to 1. Shares are shares of dialogues,
not of tokens. Which ones are taken is a function of the dialogues, the shares and the seed; they come
interleaved, so that every beginning of the result has the shares too.

Holds not: reading files (dialogues.py), the order of training (train/supervised.py shuffles again).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from aha.data.dialogues import Dialogue
from aha.data.mixing import interleave
from aha.data.order import permutation
from aha.errors import DataError

Count = Callable[[Dialogue], int]
"""Tokens of a dialogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a source gives to a mixture; all numbers are dialogues."""

    name: str
    share: Fraction
    """Of the whole, 0..1."""
    there: int
    """Different ones that it has."""
    repeated: int
    """The same dialogue again, in this source or an earlier one: left out."""
    wanted: int
    taken: int
    to_use_all: int
    """How many more it would need for every other source to be used whole (no `total`), or for the
    asked total."""

    def sentence(self) -> str:
        said = f"{self.name}: {self.taken} of {self.there} dialogues, share {float(self.share):.1%}"
        said += f", {self.repeated} repeated" if self.repeated else ""
        if self.to_use_all and self.taken < self.wanted:
            return f"{said}; {self.to_use_all} more are missing for the total that was asked"
        return f"{said}; {self.to_use_all} more would let all be used" if self.to_use_all else said


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Dialogues in the order of the file, and where they came from."""

    dialogues: list[Dialogue]
    parts: list[Part]

    def rows(self) -> list[dict[str, Any]]:
        """As rows that `dialogues.load` reads; ids that occur twice get a number behind them."""
        names: dict[str, int] = {}
        rows = []
        for one in self.dialogues:
            number = names[one.id] = names.get(one.id, 0) + 1
            rows.append(to_row(one, one.id if number == 1 else f"{one.id}~{number}"))
        return rows

    def facts(self) -> dict[str, Any]:
        return {
            "dialogues": len(self.dialogues),
            "parts": {
                part.name: {
                    "share": float(part.share),
                    "there": part.there,
                    "repeated": part.repeated,
                    "taken": part.taken,
                    "to_use_all": part.to_use_all,
                }
                for part in self.parts
            },
        }


def mix(
    sources: Mapping[str, Sequence[Dialogue]],
    shares: Mapping[str, Fraction | int | str],
    *,
    seed: int,
    total: int = 0,
) -> Mixture:
    """A mixture of `total` dialogues; 0 for the largest one that has the shares (to one of each source).

    A source that has too few for `total` gives all it has, and what is missing is said; the others do
    not give more instead.

    Raises:
        DataError: no source, an empty one, a share that is not above 0, names that do not fit.
    """
    weights = _weights(sources, shares)
    if total < 0:
        raise DataError(
            f"a mixture of {total} dialogues: write a number above 0, or 0 for the most"
        )
    fresh, repeated = _different(sources)
    scale = Fraction(total) if total else min(len(fresh[n]) / w for n, w in weights.items())
    wanted = _wanted(weights, scale, total)
    fullest = max(len(fresh[name]) / weight for name, weight in weights.items())
    parts, taken = [], []
    for name, weight in weights.items():
        count = min(wanted[name], len(fresh[name]))
        needed = wanted[name] if total else ceil(fullest * weight)
        order = permutation(len(fresh[name]), f"mixture {seed} {name}", 0)
        taken.append([fresh[name][place] for place in order[:count]])
        parts.append(
            Part(
                name=name,
                share=weight,
                there=len(fresh[name]),
                repeated=repeated[name],
                wanted=wanted[name],
                taken=count,
                to_use_all=max(0, needed - len(fresh[name])),
            )
        )
    return Mixture(dialogues=interleave(taken, list(weights.values())), parts=parts)


def table(dialogues: Sequence[Dialogue], count: Count) -> list[dict[str, Any]]:
    """By area, or by domain where that is not known: samples, mean rounds, mean tokens, and a last row of
    all (DeepSeek-R1 v2, Table 5).

    A round is one answer of the assistant.
    """
    groups: dict[str, list[Dialogue]] = {}
    for one in dialogues:
        groups.setdefault(one.area or one.domain or "other", []).append(one)
    rows = [_row(name, groups[name], count) for name in sorted(groups)]
    return [*rows, _row("total", list(dialogues), count)] if rows else []


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in plain text."""
    cells = [["domain", "samples", "rounds", "tokens"]]
    cells += [
        [str(r["domain"]), f"{r['samples']:,}", f"{r['rounds']:.1f}", f"{r['tokens']:,.1f}"]
        for r in rows
    ]
    wide = [max(len(line[column]) for line in cells) for column in range(4)]
    return "\n".join(
        "  ".join([line[0].ljust(wide[0]), *(line[i].rjust(wide[i]) for i in (1, 2, 3))]).rstrip()
        for line in cells
    )


def to_row(one: Dialogue, name: str = "") -> dict[str, Any]:
    """A dialogue as a row: question and response where that is all, else messages."""
    row: dict[str, Any] = {"id": name or one.id}
    if [role for role, _ in one.messages] == ["user", "assistant"]:
        row |= {"question": one.messages[0][1], "response": one.messages[1][1]}
    else:
        row["messages"] = [{"role": role, "content": text} for role, text in one.messages]
    row |= {"domain": one.domain, "source": one.source}
    return row | ({"area": one.area} if one.area else {})


def _weights(
    sources: Mapping[str, Sequence[Dialogue]], shares: Mapping[str, Fraction | int | str]
) -> dict[str, Fraction]:
    """Shares that sum to 1, in the order of the sources."""
    if not sources or sources.keys() != shares.keys():
        raise DataError(
            f"a mixture of {', '.join(sources) or 'nothing'} with shares for "
            f"{', '.join(shares) or 'nothing'}: name one share for each source"
        )
    weights = {name: Fraction(shares[name]) for name in sources}
    for name, weight in weights.items():
        if weight <= 0:
            raise DataError(
                f"share of {name}: {shares[name]}; write a number above 0, or leave it out"
            )
        if not sources[name]:
            raise DataError(f"the source {name} has no dialogue; leave it out of the mixture")
    whole = sum(weights.values())
    return {name: weight / whole for name, weight in weights.items()}


def _different(
    sources: Mapping[str, Sequence[Dialogue]],
) -> tuple[dict[str, list[Dialogue]], dict[str, int]]:
    """Each dialogue once, in the first source that has it."""
    seen: set[tuple[tuple[str, str], ...]] = set()
    fresh: dict[str, list[Dialogue]] = {}
    for name, dialogues in sources.items():
        fresh[name] = []
        for one in dialogues:
            if one.messages not in seen:
                seen.add(one.messages)
                fresh[name].append(one)
        if not fresh[name]:
            raise DataError(f"the source {name} has no dialogue that an earlier source has not")
    return fresh, {name: len(sources[name]) - len(fresh[name]) for name in sources}


def _wanted(weights: Mapping[str, Fraction], scale: Fraction, total: int) -> dict[str, int]:
    """Dialogues of each source: rounded down, and for a `total` the largest remainders up."""
    counts = {name: int(scale * weight) for name, weight in weights.items()}
    left = total - sum(counts.values()) if total else 0
    order = sorted(weights, key=lambda name: counts[name] - scale * weights[name])
    for name in order[:left]:
        counts[name] += 1
    return counts


def _row(name: str, dialogues: Sequence[Dialogue], count: Count) -> dict[str, Any]:
    return {
        "domain": name,
        "samples": len(dialogues),
        "rounds": sum(len(one.turns) for one in dialogues) / len(dialogues),
        "tokens": sum(count(one) for one in dialogues) / len(dialogues),
    }

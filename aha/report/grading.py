"""Verdicts on a file of answers, as lines: `aha grade`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def table(rows: Iterable[Mapping[str, Any]], *, disagreements: bool = False) -> Iterator[str]:
    """A line for each verdict and one of counts; with `disagreements` only those that two graders do
    not share, and how often they did."""
    counts: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        counts[row["status"]] += 1
        if not disagreements:
            yield line(number, row)
            continue
        pairs[{True: "agree", False: "disagree", None: "no verdict"}[row["agree"]]] += 1
        if row["agree"] is not True:
            yield line(number, row)
            yield line("", row["against"])
    yield "  ".join(f"{status} {count}" for status, count in sorted(counts.items()))
    if disagreements:
        judged = pairs["agree"] + pairs["disagree"]
        share = f" ({pairs['agree'] / judged:.1%} of {judged} judged)" if judged else ""
        known = "  ".join(f"{name} {pairs[name]}" for name in ("agree", "disagree", "no verdict"))
        yield known + share


def line(number: int | str, row: Mapping[str, Any]) -> str:
    """One verdict."""
    said = "" if row["extracted"] is None else f"  {row['extracted'][:60]!r}"
    reward = "   -" if row["reward"] is None else f"{row['reward']:.2f}"
    return f"{number:>6}  {row['status']:<8} {reward}{said}  {row['reason']}"

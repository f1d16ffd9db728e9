"""Questions whose answers belong to no step: which are shown with their text, and what of them.

    samples.jsonl of an evaluation (evals/run.py) -> Question, by its id -> Choice -> groups of the page

First pass: a file is read once; what stays of a question is the size of each answer and how many are
right. Questions are then taken from queues in turn, as many answers each as leaves ENOUGH questions of
every queue. The second pass reads the text of what was chosen.

Holds not:  which questions are wanted (compared.py: measured answers, sampled.py: sampling stages).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.report.page.answers import shown_group
from aha.report.page.escape import embedded
from aha.report.page.read import Reader, string, whole
from aha.report.page.rollouts import groups_of, name_of, sizes_of

ENOUGH = 8
"""Questions of each queue, before more answers of one question are shown."""
EACH = (0, 8, 4, 2, 1)
"""First answers of a question that are shown, the most that leaves enough questions; 0: all."""
FILE, PARTIAL = "samples.jsonl", "samples.partial.jsonl"

Key = tuple[str, str]
"""Where a question is asked (a measured source, a sampling stage), and its id."""
Wanted = tuple[Key, str]
"""A question, and why it is shown."""
Named = Collection[tuple[str, int | None]]
"""(id, sample) of answers."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one file has of a question, without text."""

    sizes: tuple[int, ...]
    """About how many bytes each answer takes in the page."""
    right: int
    judged: int
    """Answers with a verdict that says right or not."""

    def size(self, each: int) -> int:
        return sum(self.sizes[:each] if each else self.sizes)


@dataclass(frozen=True, slots=True)
class Choice:
    why: Mapping[Key, Sequence[str]]
    """Reasons of each question, in the order of importance."""
    each: int
    """First answers of a question that are shown; 0: all."""


def samples_in(folder: Path) -> Path:
    """The answers of an evaluation; of one that is not finished those of its finished blocks."""
    return folder / (FILE if (folder / FILE).is_file() else PARTIAL)


def questions(reader: Reader, path: Path) -> dict[str, Question]:
    """The questions of a file of answers by id, in its order; {} if there is none."""
    found: dict[str, Question] = {}
    for group in groups_of(reader.sized_rows(path)):
        name = name_of(group[0][0])
        if name and name not in found:
            statuses = [string(row.get("status")) for row, _ in group]
            found[name] = Question(
                tuple(sizes_of(group)),
                statuses.count("correct"),
                sum(status not in ("timeout", "error", "open") for status in statuses),
            )
    return found


def evenly(names: Sequence[str]) -> list[str]:
    """All names, so ordered that every beginning of the list is spread over the whole of it.

    >>> evenly("abcdefgh")
    ['a', 'e', 'c', 'g', 'b', 'f', 'd', 'h']
    """
    bits = max(1, (len(names) - 1).bit_length())
    turned = sorted(range(len(names)), key=lambda at: int(f"{at:0{bits}b}"[::-1], 2))
    return [names[at] for at in turned]


def choose(
    queues: Sequence[Sequence[Wanted]], size: Callable[[Key, int], int], budget: int
) -> Choice:
    """Questions of all queues in turn that fit into about `budget` bytes.

    Args:
        queues: most wanted first; a question may come again for another reason.
        size: bytes of a question with so many of its first answers (0: all).
    """
    for each in EACH:
        picked = _picked(queues, lambda key, each=each: size(key, each), budget)  # type: ignore[misc]
        if each == EACH[-1] or all(_enough(queue, picked) for queue in queues):
            break
    return Choice(picked, each)


def _enough(queue: Sequence[Wanted], picked: Mapping[Key, Any]) -> bool:
    there = {key for key, _ in queue}
    return sum(key in picked for key in there) >= min(ENOUGH, len(there))


def _picked(
    queues: Sequence[Sequence[Wanted]], size: Callable[[Key], int], budget: int
) -> dict[Key, list[str]]:
    picked: dict[Key, list[str]] = {}
    for rank in range(max(map(len, queues), default=0)):
        for key, why in (queue[rank] for queue in queues if rank < len(queue)):
            if key in picked:
                if why not in picked[key]:
                    picked[key].append(why)
            elif (needed := size(key)) <= budget:
                budget -= needed
                picked[key] = [why]
    return picked


def texts(
    reader: Reader,
    path: Path,
    chosen: Mapping[str, Sequence[str]],
    tags: tuple[str, str],
    *,
    each: int,
    named: Named = (),
    more: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """The chosen questions (id -> why) as the page has them, by id.

    Args:
        each: first answers of each that are shown, 0 for all; those in `named` are shown too.
        more: what else is known of an answer.
    """
    out: dict[str, dict[str, Any]] = {}
    for group in groups_of(reader.sized_rows(path)):
        name = name_of(group[0][0])
        if name in chosen and name not in out:
            rows = [
                row
                for place, (row, _) in enumerate(group)
                if not each or place < each or (name, whole(row.get("sample"))) in named
            ]
            made = shown_group(rows, tags, chosen[name], more=[more(row) for row in rows])
            out[name] = made | {"of": len(group)}
    return out


def fitting(
    groups: Sequence[Sequence[tuple[str, dict[str, Any]]]], budget: int
) -> dict[str, list[dict[str, Any]]]:
    """Name -> its groups, of those that fit `budget` bytes: all or none of what belongs together."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for together in groups:
        size = sum(len(embedded(group).encode()) for _, group in together)
        if size <= budget:
            budget -= size
            for name, group in together:
                kept.setdefault(name, []).append(group)
    return kept


def shares(budget: int, needs: Mapping[Key, int], weights: Mapping[Key, float]) -> dict[Key, int]:
    """A budget among those in need by their weights; what one does not need goes to the others.

    >>> shares(100, {("a", ""): 10, ("b", ""): 500}, {("a", ""): 1, ("b", ""): 1})
    {('a', ''): 10, ('b', ''): 90}
    """
    given = dict.fromkeys(needs, 0)
    waiting = [key for key in needs if needs[key] > 0]
    while waiting:
        each = budget / sum(weights[key] for key in waiting)
        modest = [key for key in waiting if needs[key] <= each * weights[key]]
        for key in modest or waiting:
            given[key] = needs[key] if modest else int(each * weights[key])
        if not modest:
            return given
        budget -= sum(needs[key] for key in modest)
        waiting = [key for key in waiting if key not in modest]
    all_of = sum(weights[key] for key in needs)
    return {key: given[key] + int(budget * weights[key] / all_of) for key in needs}

"""Rollouts of a stage for the page: every answer counted, and which groups keep their text.

First pass: all files are read once, answer by answer; what stays is counts by step, and for every group
its place, its size and what was paid. Then groups are chosen, in this order, until the budget is full:

    alert     answers that an alert names
    paid      the ten groups with the best-paid answers, ten with the best-paid that are not right, ten with
              the worst-paid
    ends      the groups of the first two and the last two steps, the first ones of each first
    every     of every k-th step the first m groups: k and m the densest that fit (m halves first)

The second pass, over the chosen ones, is in answers.py.

Holds not: what a rollout row means (report/step_metrics.py), drawing.
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha.report.curves import mean
from aha.report.page.read import Reader, number, quantile, string, whole

LONGEST = 6000
"""Characters of a thinking or of an answer that are kept: two thirds its beginning, the rest its end."""
SHORT = 600
"""Characters of a gold answer, an extracted answer, a reason, an id."""
ONLY_IN_FILES = 100
"""Bytes of a line for what the page does not have."""
SMALLEST = 150
"""Bytes that an answer takes at least."""
MOST_PAID = 10
ENOUGH_STEPS = 40
"""Steps to browse through, before a step shows more than its first groups."""
_STEP = re.compile(r"step_(\d{1,12})(\.jsonl)?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group stands: its step, and its number in the file of the step."""

    step: int
    number: int


@dataclass(slots=True)
class Index:
    """What is known of all rollouts of a stage without their text."""

    files: dict[int, Path] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    """By step: answers, groups, tokens (mean, p10, p50, p90), reward (mean, p10, p90), statuses."""
    places: list[Place] = field(default_factory=list)
    sizes: dict[Place, int] = field(default_factory=dict)
    """About how many bytes each group takes in the page."""
    ids: dict[Place, str] = field(default_factory=dict)
    paid: dict[str, list[tuple[float, int, int]]] = field(default_factory=dict)
    """Why -> heap of (how much so, -step, -number)."""
    by: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """area/domain/source/lang -> value -> [answers, right, judged, tokens]."""
    prompts: set[str] = field(default_factory=set)
    answers: int = 0
    tokens: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


def index(reader: Reader, folder: Path) -> Index:
    """Read every rollout file below `folder` (a stage's `rollouts/`) once."""
    found = Index(by={key: {} for key in ("area", "domain", "source", "lang")})
    for step, path in steps_in(folder, ".jsonl"):
        found.files[step] = path
        rewards: list[float] = []
        lengths: list[float] = []
        statuses: Counter[str] = Counter()
        groups = 0
        for groups, group in enumerate(groups_of(reader.sized_rows(path)), 1):
            place = Place(step, groups - 1)
            found.places.append(place)
            found.sizes[place] = sum(sizes_of(group))
            found.ids[place] = prompt_id(group[0][0])[:SHORT]
            found.prompts.add(found.ids[place])
            paid: list[tuple[float, str]] = []
            for row, _ in group:
                reward, tokens = number(row.get("reward")), number(row.get("tokens")) or 0.0
                status = string(row.get("status"))[:20]
                statuses[status] += 1
                lengths.append(tokens)
                if reward is not None and row.get("valid", True):
                    paid.append((reward, status))
                _count(found, row, status, tokens)
            rewards += [reward for reward, _ in paid]
            _paid(found, paid, place)
        if groups:
            found.steps.append(_of_step(step, groups, rewards, lengths, statuses))
            found.statuses += statuses
            found.answers += len(lengths)
            found.tokens += int(sum(lengths))
    return found


def _paid(found: Index, paid: Sequence[tuple[float, str]], place: Place) -> None:
    """Keep the places of the groups with the best and the worst paid answers; of equals the first."""
    not_right = [reward for reward, status in paid if status in ("wrong", "unparsed")]
    for why, keys in (
        ("best paid", [reward for reward, _ in paid]),
        ("best paid, not right", not_right),
        ("worst paid", [-reward for reward, _ in paid]),
    ):
        if keys:
            heap = found.paid.setdefault(why, [])
            heapq.heappush(heap, (max(keys), -place.step, -place.number))
            if len(heap) > MOST_PAID:
                heapq.heappop(heap)


def _count(found: Index, row: Mapping[str, Any], status: str, tokens: float) -> None:
    for key, values in found.by.items():
        name = string(row.get(key))[:80]
        if name in values or len(values) < 200:
            sums = values.setdefault(name, [0.0, 0.0, 0.0, 0.0])
            sums[0] += 1
            sums[1] += status == "correct"
            sums[2] += status not in ("timeout", "error", "open")
            sums[3] += tokens


def _of_step(
    step: int, groups: int, rewards: list[float], lengths: list[float], statuses: Counter[str]
) -> dict[str, Any]:
    rewards.sort()
    lengths.sort()
    return {
        "step": step,
        "groups": groups,
        "answers": len(lengths),
        "tokens_mean": mean(lengths),
        **{f"tokens_p{p}": quantile(lengths, p / 100) for p in (10, 50, 90)},
        "reward_mean": mean(rewards) if rewards else None,
        **{f"reward_p{p}": quantile(rewards, p / 100) if rewards else None for p in (10, 90)},
        "statuses": dict(statuses),
    }


def groups_of(
    rows: Iterable[tuple[dict[str, Any], int]],
) -> Iterator[list[tuple[dict[str, Any], int]]]:
    """Rows of one question in a row; a sample number that does not rise begins another group."""
    group: list[tuple[dict[str, Any], int]] = []
    last: tuple[Any, Any, int] = ("", 0, -1)
    for row, size in rows:
        sample = whole(row.get("sample"))
        here = (
            string(row.get("prompt_id", row.get("problem"))),
            whole(row.get("attempt")) or 0,
            0 if sample is None else sample,
        )
        if group and (here[:2] != last[:2] or here[2] <= last[2]):
            yield group
            group = []
        group.append((row, size))
        last = here
    if group:
        yield group


def sizes_of(group: Sequence[tuple[Mapping[str, Any], int]]) -> list[int]:
    """About how many bytes each answer to a question takes in the page, from the bytes of its line."""
    first = group[0][0]
    once = len(string(first.get("question"))) + len(string(first.get("gold")))
    return [
        max(SMALLEST, min(size, 2 * LONGEST + 1500) - ONLY_IN_FILES - (once if place else 0))
        for place, (_, size) in enumerate(group)
    ]


def steps_in(folder: Path, suffix: str = "") -> list[tuple[int, Path]]:
    """(step, path) of the entries of a folder that are named by a step, in the order of the steps."""
    if not folder.is_dir():
        return []
    named = ((_STEP.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(m[1]), path) for m, path in named if m and (m[2] or "") == suffix)


# -- which groups keep their text --------------------------------------------------------------------------


@dataclass(slots=True)
class Chosen:
    why: dict[Place, list[str]] = field(default_factory=dict)
    """Reasons of each group, the groups in order of importance."""
    every: int = 0
    """k: of every k-th step..."""
    each: int = 0
    """m: ... the first m groups are there (0: all)."""


def choose(found: Index, alerts: Sequence[tuple[int, str]], budget: int) -> Chosen:
    """Groups that fit into about `budget` bytes. `alerts`: (step, prompt id) that alerts name."""
    chosen, left = Chosen(), budget
    named = set(alerts)
    wanted: list[tuple[str, Place]] = [
        ("alert", place) for place in found.places if (place.step, found.ids[place]) in named
    ]
    for why, heap in found.paid.items():
        wanted += [(why, Place(-step, -at)) for _, step, at in sorted(heap, reverse=True)]
    steps = list(found.files)
    ends = dict.fromkeys([*steps[:2], *steps[-2:]])
    by_step: dict[int, list[Place]] = defaultdict(list)
    for place in found.places:
        by_step[place.step].append(place)
    wanted += [
        ("first steps" if step in steps[:2] else "last steps", place)
        for at in range(max((len(by_step[step]) for step in ends), default=0))
        for step in ends
        for place in by_step[step][at : at + 1]
    ]
    ends_may = budget // 3  # huge first steps must not take it all
    for why, place in wanted:
        if place in chosen.why:
            if why not in chosen.why[place]:
                chosen.why[place].append(why)
        elif left - found.sizes[place] >= (budget - ends_may if why.endswith("steps") else 0):
            chosen.why[place] = [why]
            left -= found.sizes[place]
    _every(found, by_step, chosen, left)
    return chosen


def _every(found: Index, by_step: Mapping[int, Sequence[Place]], chosen: Chosen, left: int) -> None:
    """The densest (k, m) that fits what is left."""
    steps = list(by_step)
    for each in (0, 8, 4, 2, 1):
        shown = [by_step[step][:each] if each else by_step[step] for step in steps]
        costs = [
            sum(found.sizes[place] for place in places if place not in chosen.why)
            for places in shown
        ]
        every = next((k for k in range(1, len(steps) + 1) if sum(costs[k - 1 :: k]) <= left), 0)
        enough = every and len(steps) // every >= min(len(steps), ENOUGH_STEPS)
        if every and (enough or each == 1):
            for places in shown[every - 1 :: every]:
                for place in places:
                    chosen.why.setdefault(place, ["sampled"])
            chosen.every, chosen.each = every, each
            return


def prompt_id(row: Mapping[str, Any]) -> str:
    return string(row.get("prompt_id"))


def name_of(row: Mapping[str, Any]) -> str:
    """Id of the question: of a rollout its prompt's, of a held-out answer its problem's."""
    return prompt_id(row) or string(row.get("problem"))

"""What a procedural task is, and how its problems divide into training and held-out ones.

The canonical form of a problem decides, not its place in the stream: whatever the seed, the wording
and the language, one problem is always on the same side. So training and held-out problems never
meet, and neither do a pretraining corpus and held-out problems if the corpus asks `is_heldout`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aha.errors import ConfigError
from aha.records import Prompt

HELDOUT_IN = 10
"""One canonical problem in this many is held out."""
PATIENCE = 10_000
Split = Literal["train", "heldout"]


@dataclass(frozen=True, slots=True)
class Item:
    """One generated problem."""

    prompt: Prompt
    canonical: str
    """The same for every wording of the same problem; begins with the task's name."""


@dataclass(frozen=True, slots=True)
class Task:
    """A stream of problems without end: item = f(settings, index)."""

    name: str
    settings: type
    """Dataclass of the query keys; has a field `seed`."""
    item: Callable[[Any, int], Item]
    """A pure function of settings and index."""
    usual: tuple[int, int] = (10_000, 1_000)
    """Training and held-out problems that are taken if nobody says how many."""
    patience: int = PATIENCE
    """Draws in a row without a new problem after which the task counts as used up."""


def is_heldout(canonical: str) -> bool:
    """Whether this problem belongs to the held-out tenth: sha256 of its canonical form."""
    digest = hashlib.sha256(canonical.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") % HELDOUT_IN == 0


def problems(task: Task, settings: Any, *, split: Split, n: int) -> tuple[list[Prompt], int]:
    """The first `n` different problems of one side, in the order of the stream.

    Returns the prompts (fewer than `n` if the settings allow no more) and how many were drawn.

    Raises:
        ConfigError: the settings leave not one problem on this side.
    """
    kept: list[Prompt] = []
    seen: set[str] = set()
    index = last_new = 0
    while len(kept) < n and index - last_new < task.patience:
        item = task.item(settings, index)
        index += 1
        if item.canonical not in seen:
            seen.add(item.canonical)
            last_new = index
            if is_heldout(item.canonical) == (split == "heldout"):
                kept.append(item.prompt)
    if not kept:
        raise ConfigError(
            f"{task.name}: these settings give {len(seen)} different problems, none of them in the "
            f"{split} part; allow more numbers or larger ones"
        )
    return kept, index


def check_lang(lang: str) -> None:
    if lang not in ("en", "zh", "mix"):
        raise ConfigError(f"lang={lang}: write en, zh or mix")

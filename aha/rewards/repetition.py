"""How much a text repeats itself: repeated n-grams, and a loop at its end.

    repeated_share(items, n)   share of n-grams that were already there
    loop_share(items)          share of the items that go round in a loop at the end
    units(text)                what is counted where there are no tokens

Items are token ids, or any values that compare equal. Holds not: meaning; the same thought in other
words is no repetition here. Time is linear in the number of items (times log n for n-grams).
"""

import re
from collections.abc import Hashable, Sequence

from aha.data.language import RANGES

NGRAM = 40
"""Tokens: as long as in "Demystifying Long Chain-of-Thought", C.2. Nobody writes forty tokens twice
by chance, while n-grams of a few words come back in any long text."""
CYCLES = 3
"""Times that a stretch must stand at the end in a row before it is a loop."""
LEAST = 12
"""Items that a loop has at least: `...` and `1000000` are none."""


def repetition_penalty(token_ids: Sequence[int], *, n: int = NGRAM) -> float:
    """0 for an answer that repeats nothing, down to -1 for one that does nothing else.

    The larger of the share of repeated n-grams and the share of tokens in a loop at the end.
    The first is how open-r1 reads arXiv 2502.03373, C.2: one number for an answer (the paper's own
    puts a penalty on each token of a repeated n-gram), on words there, on tokens here. The second
    is ours: it sees a loop that began a moment before the answer was cut. `token_ids` come without
    the end-of-sequence token.

    Raises:
        ValueError: n is below 1.

    >>> repetition_penalty([1, 2, 3, 4] * 25), repetition_penalty(range(100))
    (-0.96, 0.0)
    """
    return 0.0 - max(repeated_share(token_ids, n), loop_share(token_ids))


def repeated_share(items: Sequence[Hashable], n: int) -> float:
    """Share of n-grams that occurred before, 0..1; 0 with fewer than n items.

    Exact, without hashing whole n-grams: each gram gets a number from the numbers of two shorter
    ones that cover it, so the length is doubled until it is n.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"n={n}: an n-gram has at least one item")
    if len(items) < n:
        return 0.0
    names = _numbered(items)
    size = 1
    while size < n:
        step = min(size, n - size)
        names = _numbered(list(zip(names, names[step:], strict=False)))
        size += step
    return 1 - (max(names) + 1) / len(names)


def loop_share(items: Sequence[Hashable]) -> float:
    """Share of the items that only go round at the end, 0..1: all turns of a loop but the first.

    A loop is a stretch that stands at the end at least `CYCLES` times in a row (the last time maybe
    not whole), `LEAST` items or more together.
    """
    backwards = list(items)[::-1]
    most = 0
    for cycle, same in enumerate(_prefixes(backwards)):
        if cycle and cycle + same >= max(CYCLES * cycle, LEAST):
            most = max(most, same)
    return most / len(backwards) if most else 0.0


def units(text: str) -> list[str]:
    """Chinese characters, signs, and words in pieces of up to 16 characters.

    In pieces, so that an endless `aaaa` repeats as well.
    """
    return _UNIT.findall(text)


def _numbered(values: Sequence[Hashable]) -> list[int]:
    """0, 1, ... for the values, the same number for the same value."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(value, len(seen)) for value in values]


def _prefixes(values: list[Hashable]) -> list[int]:
    """For each place, how many values from there on equal those at the start (the Z function)."""
    size = len(values)
    same = [size] + [0] * (size - 1)
    left = right = 0
    for at in range(1, size):
        known = min(right - at, same[at - left]) if at < right else 0
        while at + known < size and values[known] == values[at + known]:
            known += 1
        same[at] = known
        if at + known > right:
            left, right = at, at + known
    return same


_UNIT = re.compile(rf"[{RANGES['Han']}]|[^\W{RANGES['Han']}]{{1,16}}|[^\w\s]")

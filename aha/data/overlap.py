"""Held-out problems that also occur in training: the same question, or a long run of the same words.

    find(train, heldout) -> [Overlap(train=17, heldout=3, why="same", shared="...")]

Two rules, the second after DeepSeek-R1 ("any text segment containing a 10-gram sequence"):

same     the two questions are one text once Unicode form (NFKC), case, white space and the
         punctuation of prose are set aside. Numbers, signs of calculation and other marks count,
         and so do parentheses where there are signs: 3 - 2 is not 3 + 2.
ngram    `n` words in a row are in both; a Chinese or Japanese character counts as a word, a sign
         does too. Runs that are in STOCK or more different held-out problems are turns of phrase of
         the data ("how many ... does he have left in total") and prove nothing.

Problems of procedural tasks are compared with each other by their tasks' canonical form alone:
they are all made of the same sentences, so runs of words would join every one with every other.
So are puzzles of kind `knights` from files, made by a program too: of these only whole questions count.

Not covered: rephrased, translated or renumbered copies; pictures.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from aha.data.tasks import canonical
from aha.records import Prompt

N = 10
"""Words in a row that make an overlap."""
STOCK = 3
"""Different held-out problems that a run of words must be in to count as a turn of phrase."""

# a number, a character that is a word by itself, a word, a run of anything else but white space
_HAN = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_PARTS = re.compile(
    rf"[^\W\d_{_HAN}]+|\d+(?:,\d{{3}})*(?:\.\d+)?|[{_HAN}]|(?:[^\w\s]|_)+",
)
_APOSTROPHE = re.compile(r"(?<=\w)['\u2018\u2019](?=\w)")
_SPELT = str.maketrans({"×": "*", "÷": "/", "−": "-"})
_PROSE = set(".,;:!?'\"`()[]{}<>$\\-…‐‑‒–—‘’“”«»、。〈〉《》「」『』【】〔〕・·¿¡")
_DASHES = set("-‐‑‒–—")
_LONGEST_PROSE = 4
"""Marks in a row of which the longest piece of prose punctuation is made, as in `?").`."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """One training problem and one held-out problem that share text; places in the lists given."""

    train: int
    heldout: int
    why: Literal["same", "ngram"]
    shared: str
    """The held-out question (same), or the longest run of words around the first hit (ngram)."""


MADE = ("knights",)
"""Kinds of problems that programs make of a few sentences, wherever their files come from."""
LATEX_SIGNS = ("div", "times", "cdot", "frac")
"""Commands that are signs: parentheses count beside them, so 8 \\div (4 \\div 2) is not 8 \\div 4 \\div 2."""


def find(train: Sequence[Prompt], heldout: Sequence[Prompt], n: int = N) -> list[Overlap]:
    """Pairs of a training and a held-out problem that overlap, in the order of `train`.

    A pair comes once: as "same" if it is that. `n` is the length of a run in words; 0 looks for
    same questions only.

    Raises:
        ValueError: a negative n.
    """
    if n < 0:
        raise ValueError(f"n={n}: write 1 or more words, or 0 for whole questions only")
    index = _Heldout(heldout, n)
    found = []
    for place, prompt in enumerate(train):
        words = tokens(prompt.question)
        same = index.same(prompt, words)
        found += [Overlap(place, other, "same", heldout[other].question) for other in same]
        if n and _written(prompt):
            for other, shared in index.runs(words, but=same):
                found.append(Overlap(place, other, "ngram", shared))
    return found


def tokens(text: str) -> list[str]:
    """The words, numbers and signs of a text, as they are compared; parentheses only beside signs.

    >>> tokens("If x-1 = 2, what's x?")
    ['if', 'x', '-', '1', '=', '2', 'whats', 'x']
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_SPELT)
    parts = _PARTS.findall(_APOSTROPHE.sub("", plain).casefold())
    words: list[str] = []
    brackets = signs = False
    for at, part in enumerate(parts):
        first = part[0]
        if first.isalpha():
            words.append(part)
            signs |= part in LATEX_SIGNS
        elif first.isdigit():
            words.append(part.replace(",", ""))
        elif counting := _counting(part):
            for mark in counting:
                if mark == "-" and not _beside_value(parts, at):
                    continue
                words.append(mark)
                brackets |= mark in "()"
                signs |= mark not in "()"
    if brackets and not signs:
        return [word for word in words if word not in ("(", ")")]
    return words


@lru_cache(maxsize=10_000)
def _counting(marks: str) -> tuple[str, ...]:
    """What of a run of marks is more than prose punctuation; a dash only if it is a minus sign."""
    if len(marks) > _LONGEST_PROSE and set(marks) & _PROSE and not set(marks) <= {*"()"}:
        return (marks,)  # a picture or a grid: each of its marks may matter
    said = []
    for mark in marks:
        if mark in _DASHES:
            said.append("-")
        elif mark in "()<>" or mark not in _PROSE:
            said.append(mark)
    return tuple(said)


def _beside_value(parts: Sequence[str], at: int) -> bool:
    """Whether a number or a single letter is before or behind a part: a dash there is a minus."""
    near = (*parts[max(0, at - 1) : at], *parts[at + 1 : at + 2])
    return any(part[0].isdigit() or (len(part) == 1 and part.isalpha()) for part in near)


def _written(prompt: Prompt) -> bool:
    """Did somebody write the question, so that ten words in a row are no accident?"""
    return prompt.kind not in MADE and canonical(prompt) is None


class _Heldout:
    """Held-out problems, ready to be looked up."""

    def __init__(self, prompts: Sequence[Prompt], n: int):
        self.n = n
        self.by_task: dict[str, list[int]] = {}
        self.by_text: dict[tuple[str, ...], list[int]] = {}
        self.natural: dict[tuple[str, ...], list[int]] = {}
        self.vocabulary: dict[str, int] = {}
        self.grams: dict[tuple[int, ...], list[int]] = {}
        self.words: dict[int, list[int]] = {}
        self.copies: dict[int, list[int]] = {}
        for place, prompt in enumerate(prompts):
            text = tokens(prompt.question)
            key = tuple(text)
            self.by_text.setdefault(key, []).append(place)
            task = canonical(prompt)
            if task is not None:
                self.by_task.setdefault(task, []).append(place)
                continue
            copies = self.natural.setdefault(key, [])
            copies.append(place)
            self.copies[copies[0]] = copies
            if n and len(copies) == 1 and _written(prompt):  # a copy is no second problem
                self._add(place, text)
        common = [gram for gram, places in self.grams.items() if len(places) >= STOCK]
        for gram in common:
            del self.grams[gram]

    def _add(self, place: int, text: Sequence[str]) -> None:
        words = [self.vocabulary.setdefault(word, len(self.vocabulary)) for word in _flat(text)]
        self.words[place] = words
        for gram in {tuple(words[at : at + self.n]) for at in range(len(words) - self.n + 1)}:
            self.grams.setdefault(gram, []).append(place)

    def same(self, prompt: Prompt, text: Sequence[str]) -> list[int]:
        """Held-out problems that are this one."""
        task = canonical(prompt)
        if task is None:
            return self.by_text.get(tuple(text), []) if text else []
        return [*self.by_task.get(task, []), *self.natural.get(tuple(text), [])]

    def runs(self, text: Sequence[str], *, but: Sequence[int]) -> list[tuple[int, str]]:
        """Held-out problems that share a run of words, and the run."""
        spelt = _flat(text)
        if len(spelt) < self.n:
            return []
        words = [self.vocabulary.get(word, -1) for word in spelt]
        hits: dict[int, str] = {}
        start = 0  # of the words in a row that held-out problems know
        for end, word in enumerate(words, 1):
            if word < 0:
                start = end
            elif end - start >= self.n:
                for first in self.grams.get(tuple(words[end - self.n : end]), ()):
                    if first not in hits:
                        low, high = self._longest(words, end - self.n, self.words[first])
                        hits[first] = _joined(spelt[low:high])
        return [
            (place, shared)
            for first, shared in hits.items()
            for place in self.copies[first]
            if place not in but
        ]

    def _longest(self, words: Sequence[int], at: int, other: Sequence[int]) -> tuple[int, int]:
        """Start and end of the run around words[at : at + n], as far as `other` goes with it."""
        gram = list(words[at : at + self.n])
        there = next(i for i in range(len(other)) if list(other[i : i + self.n]) == gram)
        low, high = at, at + self.n
        while low > 0 and there > 0 and words[low - 1] == other[there - 1]:
            low, there = low - 1, there - 1
        behind = there + high - low
        while high < len(words) and behind < len(other) and words[high] == other[behind]:
            high, behind = high + 1, behind + 1
        return low, high


def _flat(text: Sequence[str]) -> list[str]:
    """Without parentheses: they do not break a run."""
    return [word for word in text if word not in ("(", ")")]


def _joined(words: Sequence[str]) -> str:
    """Words with spaces between them, but not between Chinese characters."""
    said = ""
    for word in words:
        close = bool(said) and ord(said[-1]) >= 0x3040 and ord(word[0]) >= 0x3040
        said += word if close or not said else f" {word}"
    return said

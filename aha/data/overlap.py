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

What is learned as a text (answers, dialogues) is held against the reference solutions of held-out
problems too (`Index(..., solutions=True)`): DeepSeek-R1 v2 names questions and solutions. There a run of
words must be mostly words: `2 * 3 = 6 6 + 4 = 10` is ten signs that thousands of problems share.

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


SOLUTIONS = (
    *("solution", "solutions", "answer", "reference_solution", "canonical_solution", "code"),
    *("rationale", "explanation", "worked_solution"),
)
"""Columns that may hold the reference solution of a problem."""
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
    index = Index(heldout, n)
    found = []
    for place, prompt in enumerate(train):
        found += [Overlap(place, *hit) for hit in index.of(prompt)]
    return found


def _solutions_of(prompt: Prompt) -> list[str]:
    """The reference solutions that a problem holds."""
    held = [prompt.columns.get(name) for name in SOLUTIONS]
    texts = [one for each in held for one in (each if isinstance(each, (list, tuple)) else [each])]
    if prompt.kind in ("math", "exact"):
        texts.append(prompt.gold)  # where it is a text of its own
    return list(dict.fromkeys(one for one in texts if isinstance(one, str) and one.strip()))


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


Hit = tuple[int, Literal["same", "ngram"], str]
"""Place of a held-out problem, why, and what is shared."""


class Index:
    """Held-out problems, ready to be looked up. Building and looking up take linear time.

    Args:
        heldout: the problems; places in hits are theirs.
        n: words of a run; 0 looks for same questions only.
        solutions: runs of the problems' reference solutions count too.
    """

    def __init__(self, heldout: Sequence[Prompt], n: int = N, *, solutions: bool = False):
        if n < 0:
            raise ValueError(f"n={n}: write 1 or more words, or 0 for whole questions only")
        self.n = n
        self.heldout = heldout
        self.by_task: dict[str, list[int]] = {}
        self.by_text: dict[tuple[str, ...], list[int]] = {}
        self.natural: dict[tuple[str, ...], list[int]] = {}
        self.vocabulary: dict[str, int] = {}
        self.wordy: list[bool] = []
        self.texts: list[tuple[int, list[int]]] = []
        self.grams: dict[tuple[int, ...], list[int]] = {}
        self.copies: dict[int, list[int]] = {}
        for place, prompt in enumerate(heldout):
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
            if n and _written(prompt):
                if len(copies) == 1:  # a copy is no second problem
                    self._add(place, text)
                for said in _solutions_of(prompt) if solutions else ():
                    self._add(copies[0], tokens(said), solution=True)
        for gram, texts in list(self.grams.items()):
            if len({self.texts[text][0] for text in texts}) >= STOCK:
                del self.grams[gram]

    def _add(self, place: int, text: Sequence[str], *, solution: bool = False) -> None:
        words = [self._number(word) for word in _flat(text)]
        number = len(self.texts)
        self.texts.append((place, words))
        wordy = [self.wordy[word] for word in words]
        for at in range(len(words) - self.n + 1):
            if solution and 2 * sum(wordy[at : at + self.n]) < self.n:
                continue
            there = self.grams.setdefault(tuple(words[at : at + self.n]), [])
            if not there or there[-1] != number:
                there.append(number)

    def _number(self, word: str) -> int:
        number = self.vocabulary.setdefault(word, len(self.vocabulary))
        if number == len(self.wordy):
            self.wordy.append(word[0].isalpha())
        return number

    def of(self, prompt: Prompt) -> list[Hit]:
        """Held-out problems that this one overlaps with, those that are the same question first."""
        words = tokens(prompt.question)
        same = self.same(prompt, words)
        found: list[Hit] = [(place, "same", self.heldout[place].question) for place in same]
        if self.n and _written(prompt):
            found += [(place, "ngram", run) for place, run in self.runs(words, but=same)]
        return found

    def same(self, prompt: Prompt, text: Sequence[str]) -> list[int]:
        """Held-out problems that are this one."""
        task = canonical(prompt)
        if task is None:
            return self.by_text.get(tuple(text), []) if text else []
        return [*self.by_task.get(task, []), *self.natural.get(tuple(text), [])]

    def runs(self, text: Sequence[str], *, but: Sequence[int] = ()) -> list[tuple[int, str]]:
        """Held-out problems that share a run of words, and the run."""
        spelt = _flat(text)
        if len(spelt) < self.n or not self.grams:
            return []
        words = [self.vocabulary.get(word, -1) for word in spelt]
        hits: dict[int, str] = {}
        start = 0  # of the words in a row that held-out problems know
        for end, word in enumerate(words, 1):
            if word < 0:
                start = end
            elif end - start >= self.n:
                for number in self.grams.get(tuple(words[end - self.n : end]), ()):
                    first, other = self.texts[number]
                    if first not in hits:
                        low, high = self._longest(words, end - self.n, other)
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

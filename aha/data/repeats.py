"""Questions that come twice, and golds that contradict each other, from hashes alone.

What is kept of a row is 40 bytes: five numbers. So a file of any size can be looked through.
Two questions are the same if they are for `overlap.tokens`: case, Unicode form, spaces and the
punctuation of prose set aside. Two golds are the same if the grader tidies them into one text, or
if both are plain numbers of one value (0.5 and 1/2).
Hashes have 64 bits: among ten million questions a false pair has a chance of about 1 in 400,000.
"""

import hashlib
import re
from array import array
from collections.abc import Iterator
from fractions import Fraction

from aha.data.overlap import tokens
from aha.records import Prompt
from aha.rewards.normalise import clean, key, ungroup
from aha.rewards.tokens import MAX_BYTES

_NUMBER = re.compile(r"([+-]?\d{1,40}(?:\.\d{1,40})?)(?:/(\d{1,40}))?")


class Repeats:
    """The questions of one split."""

    def __init__(self) -> None:
        self._exact, self._canonical, self._gold = array("Q"), array("Q"), array("Q")
        self._file, self._line = array("I"), array("Q")
        self._files: list[str] = []

    def add(self, prompt: Prompt, file: str, line: int) -> None:
        if not self._files or self._files[-1] != file:
            self._files.append(file)
        self._exact.append(digest(prompt.question))
        self._canonical.append(digest(" ".join(tokens(prompt.question)) or prompt.question))
        self._gold.append(digest(gold_key(prompt.gold)))
        self._file.append(len(self._files) - 1)
        self._line.append(line)

    def found(self) -> Iterator[tuple[str, int, str, str]]:
        """(file, line, kind, sentence) of every row whose question an earlier row has."""
        import numpy

        keys = numpy.array(self._canonical, dtype=numpy.uint64)
        order = numpy.argsort(keys, kind="stable")
        same = numpy.flatnonzero(keys[order[1:]] == keys[order[:-1]]) + 1
        first = last = -1
        later: list[tuple[int, int]] = []
        for place in same.tolist():
            if place != last + 1:
                first = int(order[place - 1])
            last = place
            later.append((int(order[place]), first))
        for row, first in sorted(later):
            where = f"{self._files[self._file[first]]}:{self._line[first]}"
            if self._gold[row] != self._gold[first]:
                kind, said = "contradiction", f"the question of {where} with another gold"
            elif self._exact[row] == self._exact[first]:
                kind, said = "duplicate question", f"the same question as {where}"
            else:
                kind, said = "duplicate question", f"the question of {where}, but for its spelling"
            yield self._files[self._file[row]], self._line[row], kind, said


def digest(text: str) -> int:
    """64 bits that stand for a text."""
    packed = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


def gold_key(gold: str) -> str:
    """Equal for golds that are equal in writing, or plain numbers of one value."""
    text = key(ungroup(clean(gold))) if len(gold) <= MAX_BYTES else gold
    number = _NUMBER.fullmatch(text)
    if number is None or (number[2] and not int(number[2])):
        return text
    return str(Fraction(number[1]) / int(number[2] or 1))

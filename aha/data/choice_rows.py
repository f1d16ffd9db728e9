"""Rows with options: the question with lettered options, and the gold of kind "choice".

Options are a column `choices` or `options` (a list, an object by letter, or lists of texts and labels),
or columns A, B, C ...; the right one is a letter (`C`, `(C)`, several: `BD`, `B, D`, ["B", "D"]), its
place counted from 0, or its text. If it can be read in two ways that differ, the row is refused.

Without options only letters can be right: the question shows the options itself.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from aha.data import cells
from aha.data.cells import Made, Unusable

LETTERS = "ABCDEFGHIJ"
COLUMNS = ("choices", "options")
"""Columns that may hold options."""
GOLDS = (
    "gold",
    "answer",
    "choice",
    "answer_idx",
    "answer_index",
    "answerKey",
    "correct_answer",
    "label",
    "target",
    "ground_truth",
)
_LETTER = re.compile(r"[(（]?\s?([A-Ja-j])\s?[)）.．:：、]?")
_SEVERAL = re.compile(r"[A-J](?:\s?(?:[,，、;；&和]|and)?\s?[A-J]){1,9}")
_LABEL = re.compile(r"[(（]?([A-Ja-j])\s?[)）.．:：、]\s*")
_MARKS = (". ", ".", ") ", ")", ": ", ":")
"""What stands between a letter and its option where a question shows them."""
_WIDE = str.maketrans("．：（）、", ".:().")
_OF_OTHERS = re.compile(
    r"(?i:\babove\b|\bbelow\b|\bboth of\b)|\b[A-J] ?(?:and|or|&|,) ?[A-J]\b"
    r"|以上|上述|[A-J] ?[和与、及或] ?[A-J]"
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a row; none if the question shows them itself."""

    texts: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    """Columns that they are in."""
    labels: tuple[str, ...] = ()
    """What the row calls them, where these are not the letters A, B, C ..."""
    numbers: bool = False
    """The row has them as numbers, so that a number may be a place or an option."""

    def __str__(self) -> str:
        return f"{len(self.texts)} options" if self.texts else "letters A to J"


def fits(row: Mapping[str, Any], column: str) -> bool:
    """Whether a column says which of the row's options is right."""
    if not cells.has(row, column):
        return False
    try:
        right_of(cells.reach(row, column), options_of(row), column)
    except Unusable:
        return False
    return True


def has_options(row: Mapping[str, Any]) -> bool:
    try:
        return bool(options_of(row).texts)
    except Unusable:
        return False


def read(
    row: Mapping[str, Any], question: str, *, gold: str, seed: str = "", shuffle: bool = False
) -> Made:
    """Question and gold; `gold` is the column that says what is right.

    `shuffle` puts the options into an order that `seed` decides, unless one speaks of others ("all of
    the above") or the question shows them already.

    Raises:
        Unusable: no options, too many, or not clear which is right.
    """
    answer = cells.reach(row, gold)
    own = cells.data(answer)
    if isinstance(own, Mapping) and "answer" in own:  # the gold of this kind, as we write it
        answer, options = own["answer"], _given(own.get("options"), gold)
    else:
        options = options_of(row)
    right = right_of(answer, options, gold)
    texts = list(options.texts)
    if not texts:
        return Made(question, _letters(right))
    shown = _shows(question, texts)
    if shuffle and not shown and not any(_OF_OTHERS.search(option) for option in texts):
        order = list(range(len(texts)))
        Random(f"aha options {seed}").shuffle(order)
        texts = [texts[place] for place in order]
        right = {order.index(place) for place in right}
    if not shown:
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, texts, strict=False)]
        question = "\n".join([question, "", *lines])
    made = json.dumps({"answer": _letters(right), "options": texts}, ensure_ascii=False)
    return Made(question, made, options.used)


def _letters(right: set[int]) -> str:
    return "".join(LETTERS[place] for place in sorted(right))


def _shows(question: str, options: Sequence[str]) -> bool:
    """Whether a question has every option behind its letter."""
    plain = " ".join(question.translate(_WIDE).split())
    for letter, option in zip(LETTERS, options, strict=False):
        option = " ".join(option.translate(_WIDE).split())
        if not any(f"{letter}{mark}{option}" in plain for mark in _MARKS):
            return False
    return True


# -- the options ----------------------------------------------------------------------------------


def options_of(row: Mapping[str, Any]) -> Options:
    """The options of a row.

    Raises:
        Unusable: they cannot be asked about.
    """
    for name in COLUMNS:
        if row.get(name) is not None:
            return _given(cells.data(row[name]), name)
    if "A" not in row or "B" not in row:
        return Options()
    there = [letter for letter in LETTERS if row.get(letter) not in (None, "")]
    if there != list(LETTERS[: len(there)]):
        missing = next(letter for letter in LETTERS if letter not in there)
        raise Unusable(missing, "options: a column between others is empty")
    used = frozenset(letter for letter in LETTERS if letter in row)
    return Options(_texts([row[letter] for letter in there], "A"), used)


def _given(found: Any, column: str) -> Options:
    """Options as a list, an object by letter, or lists of texts and labels."""
    if found is None:
        return Options()
    labels: tuple[str, ...] = ()
    if isinstance(found, Mapping) and "text" in found:
        names = found.get("label")
        found = found["text"]
        if isinstance(names, list) and names != list(LETTERS[: len(names)]):
            labels = tuple(str(name) for name in names)
            if not isinstance(found, list) or len(set(labels)) != len(found):
                raise Unusable(column, "options: not one label for each")
    elif isinstance(found, Mapping):
        by_letter = {key: option for key, option in found.items() if option is not None}
        if sorted(by_letter, key=str) != list(LETTERS[: len(by_letter)]):
            raise Unusable(column, "options: an object needs the keys A, B, C ...")
        found = [by_letter[letter] for letter in sorted(by_letter)]
    if not isinstance(found, list | tuple):
        raise Unusable(column, f"options: wrong type: {cells.type_of(found)}, a list is needed")
    numbers = any(isinstance(option, int | float) for option in found)
    return Options(_texts(found, column), frozenset({column}), labels, numbers)


def _texts(found: Sequence[Any], column: str) -> tuple[str, ...]:
    """Usable texts; a label that each of them begins with is taken off."""
    if not 2 <= len(found) <= len(LETTERS):
        raise Unusable(column, f"options: {len(found)} of them, 2 to {len(LETTERS)} are needed")
    options = []
    for letter, option in zip(LETTERS, found, strict=False):
        try:
            options.append(cells.text(cells.number(option, column), column))
        except Unusable as why:
            raise Unusable(column, f"options: {letter}: {why.args[1]}") from None
    bare = []
    for letter, option in zip(LETTERS, options, strict=False):
        match = _LABEL.match(option)
        if match is None or match[1].upper() != letter or match.end() == len(option):
            return tuple(options)
        bare.append(option[match.end() :])
    return tuple(bare)


# -- which of them is right -----------------------------------------------------------------------


def right_of(answer: Any, options: Options, column: str) -> set[int]:
    """Places of the right options.

    Raises:
        Unusable: none of them, or several readings.
    """
    if isinstance(answer, list | tuple):
        if not answer or any(isinstance(part, list | tuple) for part in answer):
            raise Unusable(column, "wrong type: list, letters are needed")
        return set().union(*(right_of(part, options, column) for part in answer))
    written = cells.text(cells.number(answer, column), column)
    readings = {reading for reading in _readings(answer, written, options) if reading}
    if not readings:
        raise Unusable(column, f"options: {written[:40]!r} is none of the {options}")
    if len(readings) > 1:
        raise Unusable(column, f"options: {written[:40]!r} can mean several of the {options}")
    right = set(readings.pop())
    texts = {options.texts[place] for place in right} if options.texts else set()
    same = [place for place, option in enumerate(options.texts) if option in texts]
    if len(same) > len(texts):
        names = " and ".join(LETTERS[place] for place in same)
        raise Unusable(column, f"options: {names} are the same, and one of them is right")
    return right


def _readings(answer: Any, written: str, options: Options) -> list[frozenset[int]]:
    """What an answer may mean: labels, letters, a place, a text. Those that cannot be are empty."""
    texts, labels = options.texts, options.labels
    places: dict[str, list[int]] = {option: [] for option in texts}
    for place, option in enumerate(texts):
        places[option].append(place)
    if labels:
        return [frozenset([labels.index(written)] if written in labels else [])]
    known = LETTERS[: len(texts)] if texts else LETTERS
    found = []
    if match := _LETTER.fullmatch(written):
        found.append([known.find(match[1].upper())])
    elif _SEVERAL.fullmatch(written):
        letters = [sign for sign in written if sign in LETTERS]
        if len(set(letters)) == len(letters):
            found.append([known.find(letter) for letter in letters])
    elif (match := _LABEL.match(written)) and written[match.end() :].strip() in texts:
        place = known.find(match[1].upper())  # a letter and the text of its option
        found.append([place] if texts[place] == written[match.end() :].strip() else [])
    if written.isascii() and written.isdigit() and len(written) < 3:
        found.append([int(written)] if int(written) < len(texts) else [])
    if not isinstance(answer, int) or options.numbers:
        found.append(places.get(written, []))
    return [frozenset() if -1 in reading else frozenset(reading) for reading in found]

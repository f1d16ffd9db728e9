"""The grader of multiple choice: which letters an answer chooses, and whether they are the gold's.

Gold is a letter A to J, several of them ("BD", "B, D"; order does not count), or
    {"answer": "C", "options": ["Paris", "Rome", "Berlin"]}
With options the text of exactly one of them is an answer too, and a letter beside the text of another
option contradicts itself. Two letters for one, a hedge (C or D, not C, C?) and a contradiction are
wrong; a text in which no choice can be read is unparsed.

Holds not: where the answer stands (answer.py), the value of an option: texts are compared as texts.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache

from aha.records import Grade
from aha.rewards.answer import Extracted, lead_off
from aha.rewards.normalise import clean, key, ungroup, unicode_text
from aha.rewards.tokens import MAX_BYTES

LETTERS = "ABCDEFGHIJ"
_LEAD = re.compile(
    r"\A(?:(?:the\s)?(?:correct\s|right|best\s)?(?:options?|choices?|answers?)(?:\s(?:is|are))?|选项|选择?|答案)"
    r"[\s:]*(?=\(?[A-J]{1,9}(?![A-Za-z]))",
    re.IGNORECASE,
)
_ONE = re.compile(r"\(?\s?([A-Ja-j])\s?\)?[.):]?")
_SEVERAL = re.compile(
    r"\(?[A-J]\)?(?:(?:\s?(?:,|;|&|\band\b|和|与|及)\s?){0,2}\s?\(?[A-J]\)?){1,9}\.?"
)
_BOTH = re.compile(r"\(?[A-J]\)?\s?(?:or|and/or|/|\||或者?)\s?\(?[A-J]\)?(?![A-Za-z])")
_HEAD = re.compile(
    r"(?:\(([A-J])\)|([A-J])\s?(?:[.):,]|-(?=\s)|(?=[=（])))\s*(\S.*)|"
    r"([A-J])\s(?=because\b|since\b|as\b|is\b)(.+)|"
    r"([A-J])(?=[一-鿿])(.+)",
    re.DOTALL,
)
_SAID = re.compile(
    r"(?:option\s)?(?:is|was)\s(?:the\s)?(?:correct|right|true|best)(?:\s(?:answer|option|choice|one))?|"
    r"is\sthe\s(?:answer|solution)|是?(?:正确|对)的?(?:答案|选项)?",
    re.IGNORECASE,
)
_HEDGES = re.compile(
    r"n't\b|\b(?:not|nor|neither|either|or|maybe|perhaps|possibly|probably|might|may|could|unless|"
    r"unsure|guess|wrong|incorrect|except|both|all)\b|[不非或错]|可能|也许|大概|还是",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"\(\s?([A-J])\s?\)|(?<![A-Za-z0-9\\'])([B-J])(?![A-Za-z0-9'])|"
    r"(?<![A-Za-z0-9\\'])(A)(?!\s?[a-z0-9'])"
)
_LETTER = re.compile(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])")
_REASON = re.compile(r"[,(]?(?:because|since|as|for|so|=|因为)")
_GOLD = re.compile(r"[\s,;()、，]*(?:[A-J][\s,;().、，]*){1,10}")
_PREFIX = re.compile(r"\(?([A-J])(?:[.):]|\))\s*(?=\S)")
_SHORT_FRACTION = re.compile(r"\\frac\s?(\d)\s?(\d)(?!\d)")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a right answer is."""

    letters: frozenset[str]
    options: tuple[str, ...] = ()
    """Texts as they are compared, in the order of their letters; empty if they are not known."""


class NoChoice(Exception):
    """An answer without a choice; `unclear` when there is something like one: then it is wrong."""

    def __init__(self, reason: str, *, unclear: bool) -> None:
        super().__init__(reason)
        self.reason, self.unclear = reason, unclear


def grade_choice(gold: str, found: Extracted) -> Grade:
    """Verdict on a choice.

    wrong: not_equal, several, hedged, contradiction. unparsed: no_choice, too_long. error: a gold that
    is neither letters A to J nor an object of answer and options.
    """
    answer = found.text
    if answer is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    if len(answer) > MAX_BYTES:
        return Grade(status="unparsed", score=0.0, reason="too_long", extracted=answer[:200])
    try:
        wanted = read_gold(gold)
    except ValueError as error:
        why = f"gold_unparsed: {error}"
        return Grade(status="error", score=0.0, reason=why, extracted=answer)
    try:
        chosen = read_choice(answer, wanted.options)
    except NoChoice as error:
        status = "wrong" if error.unclear else "unparsed"
        return Grade(status=status, score=0.0, reason=error.reason, extracted=answer)  # type: ignore[arg-type]
    if chosen == wanted.letters:
        return Grade(status="correct", score=1.0, reason="equal", extracted=answer)
    several = len(chosen) > 1 and len(wanted.letters) == 1
    reason = "several" if several else "not_equal"
    return Grade(status="wrong", score=0.0, reason=reason, extracted=answer)


@lru_cache(maxsize=1024)
def read_gold(gold: str) -> Choice:
    """The choice of a gold.

    Raises:
        ValueError: says what is wrong with it.
    """
    options: tuple[str, ...] = ()
    letters: object = gold
    if gold.lstrip().startswith("{"):
        try:
            fields = json.loads(gold)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None
        given, letters = fields.get("options", []), fields.get("answer")
        if not isinstance(given, list) or len(given) > len(LETTERS):
            raise ValueError(f"options: a list of at most {len(LETTERS)} texts")
        if not all(isinstance(option, str | int | float) for option in given):
            raise ValueError("options: texts")
        options = tuple(_plain(str(option)) for option in given)
    if isinstance(letters, list):
        letters = " ".join(map(str, letters))
    if not isinstance(letters, str) or not _GOLD.fullmatch(letters):
        raise ValueError('needs letters A to J, as "C" or {"answer": "C", "options": [...]}')
    chosen = frozenset(char for char in letters if char in LETTERS)
    if options and any(LETTERS.index(letter) >= len(options) for letter in chosen):
        raise ValueError(f"answer {''.join(sorted(chosen))} is beyond the {len(options)} options")
    return Choice(chosen, options)


def read_choice(answer: str, options: tuple[str, ...] = ()) -> frozenset[str]:
    """The letters that an answer chooses; `options` as in Choice.

    Raises:
        NoChoice: hedged, contradiction (unclear), no_choice.
    """
    text = _tidy(answer)
    one = _ONE.fullmatch(text)
    doubt = answer.rstrip(" .$*)}\"'").endswith(("?", "？"))
    named = text.islower() and text in options  # "h" is an option's text, not its letter H
    if one is not None and not doubt and not named:
        return frozenset(one.group(1).upper())
    meant = _with_its_text(answer, options)
    if meant is not None:
        return meant
    if doubt:
        raise NoChoice("hedged", unclear=True)
    return _letters(text) or _with_text(text, options)


def _with_its_text(answer: str, options: tuple[str, ...]) -> frozenset[str] | None:
    """An option's text, alone or beside its letter; None if the answer is neither.

    Raises:
        NoChoice: beside another letter.
    """
    text = unicode_text(lead_off(answer)).strip()
    for said in (text, _tidy(answer)):
        at = _which({_folded(said)}, options)
        if at is not None:
            return frozenset(LETTERS[at])
        match = _HEAD.fullmatch(said)
        letter, tail = _parted(match) if match else ("", "")
        at = _which(_readings(tail), options) if letter else None
        if at is not None and LETTERS[at] != letter:
            raise NoChoice("contradiction", unclear=True)
        if at is not None:
            return frozenset(letter)
    return None


def _which(said: set[str], options: tuple[str, ...]) -> int | None:
    """Index of the only option that is one of these texts; case counts only where it must."""
    for change in (str, str.casefold):
        wanted = {change(text) for text in said}
        found = [i for i, option in enumerate(options) if change(option) in wanted]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _readings(tail: str) -> set[str]:
    """What stands beside a letter: as it is, and without the letter that an option may repeat."""
    return {_folded(tail), _plain(tail)}


def _letters(text: str) -> frozenset[str] | None:
    """BD, "B and D"; None if the text is more, or other, than letters."""
    if _SEVERAL.fullmatch(text):
        found = [char for char in text if char in LETTERS]
        if len(found) == len(set(found)):
            return frozenset(found)
        raise NoChoice("hedged", unclear=True)
    return None


def _with_text(text: str, options: tuple[str, ...]) -> frozenset[str]:
    """A letter and what is said beside it."""
    match = _HEAD.fullmatch(text)
    if match is None:
        unclear = bool(_LETTER.search(text) or _BOTH.search(text))
        raise NoChoice("hedged" if unclear else "no_choice", unclear=unclear)
    letter, tail = _parted(match)
    if options and LETTERS.index(letter) >= len(options):
        raise NoChoice("not_equal", unclear=True)
    if _SAID.fullmatch(tail.strip(" .")):
        return frozenset(letter)
    if _quotes_another(tail, letter, options):
        raise NoChoice("contradiction", unclear=True)
    others = {next(filter(None, found)) for found in _OTHERS.findall(tail)}
    if others - {letter} or _HEDGES.search(tail) or "?" in tail:
        raise NoChoice("hedged", unclear=True)
    return frozenset(letter)


def _parted(match: re.Match[str]) -> tuple[str, str]:
    groups = match.groups()
    letter = next(group for group in (groups[0], groups[1], groups[3], groups[5]) if group)
    tail = next(group for group in (groups[2], groups[4], groups[6]) if group)
    return letter, tail


def _quotes_another(tail: str, letter: str, options: tuple[str, ...]) -> bool:
    """Whether the words beside a letter hold another option's text, its own and its reason put aside."""
    if not options:
        return False
    said, own = _folded(tail), options[LETTERS.index(letter)]
    before, _, after = said.partition(own) if own else (said, "", "")
    rest = before if _REASON.match(after) else f"{before} {after}"
    return any(len(text) > 2 and text in rest and text not in own for text in options)


def _tidy(text: str) -> str:
    """Unicode, LaTeX, markdown and "the answer is" off."""
    text = lead_off(_TEXT.sub(r" \1 ", clean(lead_off(text).replace("**", " ").replace("__", " "))))
    text = re.sub(r"\s+", " ", text).strip(" .\"'`")
    if len(text) < 9:
        text = text.strip(" {}")
    for _ in range(2):
        text = _LEAD.sub("", text, count=1)
    return text.strip()


def _plain(text: str) -> str:
    """An option's text as it is compared: its own letter in front is dropped."""
    text = clean(text)
    prefix = _PREFIX.match(text)
    return _folded(text[prefix.end() :] if prefix else text)


def _folded(text: str) -> str:
    text = _TEXT.sub(r"\1", clean(text))
    return key(ungroup(_SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)))

"""What makes an answer hard to read: the filters before rejection-sampled answers are trained on.

DeepSeek-R1 (2.3.3 of the first release) drops thinking with mixed languages, long paragraphs and
code blocks, and gives no limits; these are ours, and so are the other faults:

    empty_thinking    fewer words than `words`
    empty_summary     nothing after the thinking
    mixed_languages   less than `language` of the thinking's words are in the question's language
    summary_language  the same of the summary
    long_paragraph    more than `paragraph` words of the thinking without a line break
    code_block        a fenced block in the thinking; in the summary it is an answer
    repetition        more than `repeated` of the thinking's 10-grams were there before, or more than
                      `looped` of it is a loop at its end
    garbled           characters that no decoded text should hold: lone surrogates, U+FFFD, controls

Holds not: whether an answer is right. Not covered: code without a fence, the sense of the text.
Linear time.
"""

import re
from dataclasses import dataclass

from aha.data.language import RANGES
from aha.rewards.language import consistency
from aha.rewards.repetition import loop_share, repeated_share, units

NGRAM = 10
"""Units (words, signs, Chinese characters) of an n-gram of the fault `repetition`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a fault begins. A word is what spaces separate, or one Chinese or Japanese character."""

    words: int = 1
    """Words of the thinking, at least."""
    language: float = 0.9
    """Share of words in the language of the question, at least."""
    paragraph: int = 300
    """Words of the thinking without a line break, at most; 0 for no limit."""
    repeated: float = 0.3
    """Share of repeated n-grams of the thinking, at most."""
    looped: float = 0.1
    """Share of the thinking that is a loop at its end, at most."""
    code: bool = False
    """Whether the thinking may hold code blocks (yes for programming problems)."""


LIMITS = Limits()


def faults(thinking: str, summary: str, *, language: str, limits: Limits = LIMITS) -> list[str]:
    """The faults of an answer, in the order of the module's table; [] for a readable one.

    `language` is that of the question (`language.target`); with "" languages are not judged.

    >>> faults("We add 2 and 3.", "The sum is 5.", language="en")
    []
    >>> faults("We add 2 and 3.", "", language="zh")
    ['empty_summary', 'mixed_languages']
    """
    counted = units(thinking)
    found = {
        "empty_thinking": _words(thinking) < limits.words,
        "empty_summary": not summary.strip(),
        "mixed_languages": _is_foreign(thinking, language, limits),
        "summary_language": _is_foreign(summary, language, limits),
        "long_paragraph": limits.paragraph > 0
        and any(_words(text) > limits.paragraph for text in thinking.split("\n")),
        "code_block": not limits.code and _FENCE.search(thinking) is not None,
        "repetition": repeated_share(counted, NGRAM) > limits.repeated
        or loop_share(counted) > limits.looped,
        "garbled": _GARBLED.search(thinking + summary) is not None,
    }
    return [name for name, there in found.items() if there]


def _is_foreign(text: str, language: str, limits: Limits) -> bool:
    share = consistency(text, language)
    return share is not None and share < limits.language


def _words(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


_CJK = RANGES["Han"] + RANGES["Kana"]
_WORD = re.compile(rf"[{_CJK}]|[^\s{_CJK}]++")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_GARBLED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ufffe\uffff\ud800-\udfff]")

"""What can be counted in the text of an answer: length, reflection, language, repetition.

Counts words and scripts; understands nothing. The text is the model's and may be hostile: every
count is one pass, linear in its length. Numbers are about the thinking where it can be told apart
(language), else about the whole answer (reflection, repetition), so that answers that cannot be
parsed are counted too.

Not covered: languages that share a script (French in English thinking), and the sense in which a
word is used ("check" the noun).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aha.data.thinking import split
from aha.rewards.repetition import repeated_share, units

REFLECTION = (
    "wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check"
)  # fmt: skip
"""English words of reflection (DeepSeek-R1 v2 §C.2, Fig. 9a); `wait` is also counted by itself
(Fig. 9b)."""

REFLECTION_ZH = ("等等", "等一下", "不对", "检查", "验证", "重新", "错误", "再想")
"""Chinese ones, ours: no source gives a list. wait (twice), not right, check, verify, anew, error,
think again."""

MIXED = 0.05
"""Thinking is mixed when a second script has at least this share of its letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStats:
    """Counts of one answer."""

    think_chars: int
    """Characters of the thinking; 0 when there is none."""
    answer_chars: int
    """Characters in the answer tag, or after the thinking when there is no such tag."""
    reflection: int
    """English reflection words, whole words, in any case."""
    wait: int
    """`wait` among them."""
    reflection_zh: int
    han: int
    """Chinese characters of the thinking."""
    latin: int
    """Latin letters of the thinking, without LaTeX commands and single letters (variables)."""
    other: int
    """Letters of other scripts, without single ones (Greek variables)."""
    repetition: float
    """Share of 4-grams that were already there, 0..1."""

    @property
    def mixed(self) -> bool:
        """A second script has at least `MIXED` of the letters of the thinking."""
        counts = sorted((self.han, self.latin, self.other), reverse=True)
        return counts[1] > 0 and counts[1] >= MIXED * sum(counts)

    def target_share(self, lang: str) -> float | None:
        """Share of the thinking's letters in the script of `lang` (en or zh), 0..1.

        None when the thinking has no letters: nothing is known then, which is not a share of 0.
        """
        if lang not in ("en", "zh"):
            raise ValueError(f"lang={lang!r}: only en and zh can be told apart by script")
        letters = self.han + self.latin + self.other
        return (self.han if lang == "zh" else self.latin) / letters if letters else None


def measure(response: str, *, think_tag: str = "think", answer_tag: str = "answer") -> TextStats:
    """Counts of one answer; `response` is prefill + text, as the rewards see it.

    Without a thinking part the language is that of the whole answer.
    """
    parsed = split(response, think_tag=think_tag, answer_tag=answer_tag)
    answer = parsed.rest if parsed.answer is None else parsed.answer
    reflection = [match.group().lower() for match in _REFLECTION.finditer(response)]
    han, latin, other = scripts(parsed.think or response)
    return TextStats(
        think_chars=len(parsed.think),
        answer_chars=len(answer),
        reflection=len(reflection),
        wait=reflection.count("wait"),
        reflection_zh=sum(1 for _ in _REFLECTION_ZH.finditer(response)),
        han=han,
        latin=latin,
        other=other,
        repetition=repetition(response),
    )


def scripts(text: str) -> tuple[int, int, int]:
    """(Chinese characters, Latin letters, other letters).

    Mathematics is written in Latin and Greek in every language, so a single letter between
    non-letters (`x`, `π`) and a LaTeX command (`\\frac`) count for no language; nor do tags.
    """
    text = _TAG.sub(" ", text)
    han = sum(len(match.group()) for match in _HAN_RUN.finditer(text))
    latin = sum(len(match.group()) for match in _LATIN_WORD.finditer(text))
    other = sum(len(match.group()) for match in _OTHER_WORD.finditer(text))
    return han, latin, other


def repetition(text: str) -> float:
    """Share of 4-grams that occurred before in the text, 0..1; 0 with fewer than four units.

    A unit is a Chinese character, a sign, or up to 16 characters of any other word, so that an
    endless `aaaa` repeats as well.
    """
    return repeated_share(units(text), 4)


def summarise(stats: Sequence[TextStats], *, tokens: int) -> dict[str, float | None]:
    """The `text/` metrics of one step: `stats` of all its answers, which had `tokens` tokens.

    A value without a basis (no answers, no letters) is None.
    """
    letters = sum(s.han + s.latin + s.other for s in stats)
    return {
        "text/reflection/per_1k": 1000 * sum(s.reflection for s in stats) / tokens
        if tokens
        else None,
        "text/reflection/share": _mean(s.reflection > 0 for s in stats),
        "text/wait/share": _mean(s.wait > 0 for s in stats),
        "text/reflection_zh/share": _mean(s.reflection_zh > 0 for s in stats),
        "text/han/share": sum(s.han for s in stats) / letters if letters else None,
        "text/mixed/share": _mean(s.mixed for s in stats),
        "text/repetition/mean": _mean(s.repetition for s in stats),
    }


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_LATIN = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_HAN_RUN = re.compile(f"[{_HAN}]+")
# not after a backslash, and (so that the match cannot start inside a command) not after a letter
_LATIN_WORD = re.compile(rf"(?<![\\{_LATIN}])[{_LATIN}]{{2,}}")
_OTHER_WORD = re.compile(rf"[^\W\d_{_HAN}{_LATIN}]{{2,}}")
_TAG = re.compile(r"</?[A-Za-z_]{1,32}>")
# ASCII rules for word and case: Chinese next to a word does not hide it, and no ſ is an s
_REFLECTION = re.compile(
    rf"(?<![A-Za-z0-9_])(?:{'|'.join(REFLECTION)})(?![A-Za-z0-9_])", re.IGNORECASE | re.ASCII
)
_REFLECTION_ZH = re.compile("|".join(REFLECTION_ZH))

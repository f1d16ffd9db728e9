"""Questions that are no reasoning problems: which ones they are, and about which nobody thinks.

DeepSeek-R1 §2.3.3 has writing, factual questions, self-cognition and translation in its second supervised
stage; some answers get a chain of thought first, and "hello" gets none. The paper gives no rule; ours is
`is_trivial`.

Holds not: what is done with such answers (selecting.py).
"""

import re

from aha.data.areas import area
from aha.data.language import RANGES
from aha.records import Prompt

GENERAL = ("helpful", "harmless", "general")
"""Areas whose questions are no reasoning problems."""
TRIVIAL_WORDS = 3
"""Words of a trivial question, at most."""


def is_general(prompt: Prompt) -> bool:
    """Whether a question is none of the reasoning problems."""
    return area(prompt) in GENERAL


def is_trivial(prompt: Prompt, words: int = TRIVIAL_WORDS) -> bool:
    """Whether nobody would think before answering: a greeting, or a question of a few words.

    A word is a Chinese or Japanese character, or what letters and digits make. Reasoning problems, and
    requests that may have to be refused, are never trivial. 0 words: greetings alone are.

    >>> is_trivial(Prompt(id="1", question="Good morning!", gold="", domain="general"))
    True
    """
    if prompt.columns.get("talk") == "greeting":
        return True
    if area(prompt) not in ("helpful", "general") or not words:
        return False
    return sum(1 for _ in _WORD.finditer(prompt.question)) <= words


def translates(prompt: Prompt) -> bool:
    """Whether an answer may be in another language than its question."""
    return prompt.columns.get("talk") == "translate" or prompt.domain == "translation"


_CJK = RANGES["Han"] + RANGES["Kana"]
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+(?:['’][^\W_{_CJK}]+)?")

"""The exact grader: the extracted answer is the gold, letter for letter after tidying.

Tidying: Unicode forms (NFKC), LaTeX spelling and spacing, markdown, outer quotes and a closing full
stop; not case, not value. For answers that are strings: a word, a code, a choice.
"""

from aha.records import Grade
from aha.rewards.answer import Extracted
from aha.rewards.normalise import clean, key
from aha.rewards.tokens import MAX_BYTES


def grade_exact(gold: str, found: Extracted) -> Grade:
    """Verdict: correct if both are the same string after tidying."""
    answer = found.text
    if answer is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    if len(answer) > MAX_BYTES:
        return Grade(status="unparsed", score=0.0, reason="too_long", extracted=answer[:200])
    wanted = key(clean(gold[:MAX_BYTES]))
    if not wanted or len(gold) > MAX_BYTES:
        return Grade(
            status="error", score=0.0, reason="gold_unparsed: empty or too long", extracted=answer
        )
    if key(clean(answer)) == wanted:
        return Grade(status="correct", score=1.0, reason="equal", extracted=answer)
    return Grade(status="wrong", score=0.0, reason="not_equal", extracted=answer)

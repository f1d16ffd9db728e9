"""The last resort: math-verify, for LaTeX that our own parser does not read.

What it gets wrong and can be known is kept from it: it sees no units, no text, no relations, no
numbers in bases, no towers; it compares to 40 digits, not 6; both sides must have the same symbols.
Its own timeouts are off (they need the main thread): the caller is a worker that can be killed.

Holds not: anything about forms; a screened text it cannot read is None.
"""

import logging
import re
from typing import Any

_REFUSED = re.compile(
    r"\\(?:text|sum|prod|i*int|oint|lim|begin|ldots|cdots|equiv|pmod|bmod|mod|operatorname|"
    r"gcd|lcm|max|min|det|arg|deg|dim)"
    r"(?![A-Za-z])|[=<>!:;%&]|\^\s*\{?[^{}]*\^|\d{30}|\^\s*\{?-?\d{4}|[A-Za-z]{5}|\\\\"
)
_COMMANDS = re.compile(r"\\[A-Za-z]+")


def same(gold: str, answer: str) -> bool | None:
    """Whether math-verify finds both equal; None if it may not see them, or cannot read them."""
    for text in (gold, answer):
        if len(text) > 300 or _REFUSED.search(text):
            return None
        if re.search(r"[A-Za-z]{5}", _COMMANDS.sub(" ", text)):
            return None
    if gold.count("{") + answer.count("{") > 60:
        return None
    first, second = _read(gold), _read(answer)
    if first is None or second is None:
        return None
    from math_verify import verify

    if getattr(first, "free_symbols", None) != getattr(second, "free_symbols", None):
        return False
    return bool(
        verify(first, second, float_rounding=40, numeric_precision=60, timeout_seconds=None)
    )


def warm_up() -> None:
    """Load math-verify and its grammar (about two seconds), before a deadline counts."""
    same("x+1", "1+x")


def _read(text: str) -> Any:
    from math_verify import LatexExtractionConfig, parse
    from math_verify.errors import TimeoutException

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        found = parse(
            f"${text}$",
            [LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
    except (Exception, TimeoutException):
        return None
    return found[0] if len(found) == 1 else None

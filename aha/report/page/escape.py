"""Text from outside on its way into the page: harmless as HTML and as JSON inside a script element.

Every string that a model, a data set, a recipe or a folder's name brought passes one of these two.
"""

import json
from html import escape
from typing import Any

from aha.report.lines import clean


def text(value: str) -> str:
    """For HTML text and for attributes in double quotes; without control and reordering characters."""
    return escape(clean(value))


def embedded(value: Any) -> str:
    """JSON for `<script type="application/json">`: no `<`, `>` or `&`, so that nothing in it is markup.

    U+2028 and U+2029, ends of lines to some readers, are escaped; a lone surrogate becomes `?`.

    Raises:
        ValueError: a number that is not finite.
    """
    found = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        found = found.replace(sign, f"\\u{ord(sign):04x}")
    return found.encode("utf-8", "replace").decode("utf-8")

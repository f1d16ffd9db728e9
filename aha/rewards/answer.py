"""Where the answer stands in a response: the published contract, in order.

    1. the content of the last `\\boxed{}` (or `\\fbox{}`) of the answer part
    2. the content of the last `<answer>`
    3. what follows the last `####`                      (mode "all" only)
    4. what follows "final answer is", "The correct option is", "Answer:", 答案是, 答：, 故选;
       without one of these 选C, 所以……是                 (mode "all" only)
    5. nothing: no answer

The answer part is the text after the last `</think>`; an open `<think>` leaves none. A last box or
tag that was opened and never closed is a cut answer: none, not an earlier one. Linear time.

Holds not: what the answer means (math_answer, exact, countdown).
"""

import re
from dataclasses import dataclass
from typing import Literal

from aha.data.thinking import split

Mode = Literal["rl", "all"]
Place = Literal["boxed", "answer_tag", "hashes", "line", "none"]


@dataclass(frozen=True, slots=True)
class Extracted:
    """The answer text and where it stood; `text` is None when there is no answer."""

    text: str | None
    place: Place
    reason: str = ""
    """Why there is none: think_open, box_open, box_empty, answer_open, answer_empty, no_answer."""


_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])[ \t\n]*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"[^$\n]{1,200}")
_MARK = re.compile(
    r"(?:\b(?:final|correct)\s{1,9}answer\b(?:\W{0,4}(?:is|=|:))|"
    r"\banswer\s{0,9}(?:\*\*|__)?\s{0,9}[:：]|\banswer\s{1,9}is\b|"
    r"\b(?:correct|right|best)\s{1,9}(?:option|choice)\b(?:\W{0,4}(?:is\b|=|:|：))|"
    r"答案\s?(?:应该|应|就)?(?:是|为|选|：|:)|答(?:：|:)|"
    r"(?:故|应|所以|因此|综上)\s?选择?\s?(?:：|:|(?=[ (（]{0,2}[A-JＡ-Ｊ]{1,4}(?![A-Za-z])))|"
    r"^[#*_ \t]{1,8}(?:final[ \t]+)?answer[*_ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)
_CONCLUDED = re.compile(
    r"(?<![不能别勿])选择?\s?[：:]?\s?(?=[(（]?[A-JＡ-Ｊ]{1,4}(?![A-Za-z]))|"
    r"所以[^。．.，,；;\n]{0,30}?(?:等于|[是为=＝])(?=\s?[-−+$\\(（√\dA-JＡ-Ｊ])"
)
"""Weaker than _MARK: looked for only where there is none of those."""
_LEAD = re.compile(
    r"\A(?:(?:so|thus|therefore|hence)\b[,\s]*)?(?:the\s+)?"
    r"(?:(?:final|correct|required)\s+)?(?:answer|result|option|choice)\s*(?:is\b|equals\b|[:：=])\s*[:：]?\s*|"
    r"\A(?:(?:所以|因此|故|综上(?:所述)?)[,，]?\s?)?(?:(?:本题|正确|最终|最后)的?)?"
    r"答案\s?(?:应该|应|就)?(?:[是为选]\s?[：:]?|[：:])\s*|"
    r"\A答\s?[:：]\s*|"
    r"\A正确(?:的)?选项\s?(?:[是为]\s?[：:]?|[：:])\s*|"
    r"\A(?:(?:所以|因此)?[故应]?选[择项]?)\s?[:：]?\s?(?=[(（]?[A-JＡ-Ｊ]{1,4}(?![A-Za-z]))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?:\s+(?=[A-Z])|\s*$)|[。．](?!\d)")
_HOPE = re.compile(r"\.?\s{0,9}I hope (?:it|this) is correct\.?.*\Z", re.IGNORECASE | re.DOTALL)


def extract(
    response: str, *, mode: Mode = "rl", think_tag: str = "think", answer_tag: str = "answer"
) -> Extracted:
    """The answer of a response (prefill included), by the contract above.

    >>> extract("so \\\\boxed{9}, no: \\\\boxed{7}").text
    '7'
    """
    parsed = split(response, think_tag, answer_tag)
    if not parsed.complete:
        return Extracted(None, "none", "think_open")
    part = parsed.rest
    boxed = last_box(part)
    if boxed is not None:
        return boxed
    if answer_tag and f"<{answer_tag}>" in part:
        if parsed.answer is None:
            return Extracted(None, "answer_tag", "answer_open")
        text = lead_off(parsed.answer)
        return Extracted(text or None, "answer_tag", "" if text else "answer_empty")
    if mode == "all":
        return _unmarked(part)
    return Extracted(None, "none", "no_answer")


def last_box(text: str) -> Extracted | None:
    """The last outermost `\\boxed{…}`; None if the text has no box at all.

    Braces are matched, escaped ones (`\\{`) do not count. `\\boxed 5` takes what follows up to `$`
    or the end of the line.
    """
    found: Extracted | None = None
    at = 0
    while match := _BOX.search(text, at):
        at = match.end()
        if at >= len(text):
            return Extracted(None, "boxed", "box_open")
        if text[at] == "{":
            end = _closing(text, at)
            if end < 0:
                return Extracted(None, "boxed", "box_open")
            content = lead_off(_BOX.sub("", text[at + 1 : end]).strip())
            at = end + 1
        else:
            bare = _BARE_BOX.match(text, at)
            content = bare.group().strip().rstrip(".") if bare else ""
            if " " in content and "$" not in text[at : at + 200]:
                content = content.split(" ")[0].rstrip(".,;")
        found = Extracted(content or None, "boxed", "" if content else "box_empty")
    return found


def unwrap_box(text: str) -> str:
    """Content of the last box if the text has a whole one, else the text as it is (for golds)."""
    if "boxed" not in text and "fbox" not in text:
        return text
    box = last_box(text)
    return box.text if box is not None and box.text is not None else text


def lead_off(text: str) -> str:
    """Drop "The answer is" and the like from the front."""
    text = text.strip()
    for _ in range(2):  # 答：故选C
        match = _LEAD.match(text)
        text = text[match.end() :].strip() if match else text
    return text


def _closing(text: str, opened: int) -> int:
    """Index of the brace that closes the one at `opened`, -1 if none does."""
    depth = 0
    for match in _BRACE.finditer(text, opened):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return -1


def _unmarked(part: str) -> Extracted:
    at = part.rfind("####")
    if at >= 0:
        text = _line(part[at + 4 :])
        return Extracted(text or None, "hashes", "" if text else "no_answer")
    last = None
    for pattern in (_MARK, _CONCLUDED):
        for match in pattern.finditer(part):
            last = match
        if last is not None:
            break
    if last is None:
        return Extracted(None, "none", "no_answer")
    text = _line(part[last.end() :])
    return Extracted(text or None, "line", "" if text else "no_answer")


def _line(after: str) -> str:
    """The answer on the first non-empty line of `after`, without markdown and after-talk."""
    after = after[:8192].lstrip(" \t\r\n*_:：")
    for opening, closing in (("\\[", "\\]"), ("$$", "$$"), ("\\(", "\\)")):
        if after.startswith(opening):
            end = after.find(closing, 2)
            if end > 0:
                tail = after[end + 2 :].split("\n", 1)[0].strip(" .*_")
                return f"{after[2:end].strip()} {tail}".strip()
    line = _HOPE.sub("", after.split("\n", 1)[0])
    stop = _SENTENCE_END.search(line)
    if stop:
        line = line[: stop.start()]
    return lead_off(line.strip().strip("*_`").strip().rstrip("。").strip())

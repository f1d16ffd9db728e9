"""A response in its parts: the thinking, what follows it, and the content of the answer tag.

Holds:           finding tags by their literal text; one pass, linear in the length of the response.
Holds not:       judging (rewards/), nested markup, attributes in tags, HTML entities.
Must stay true:  text inside an unfinished thinking part is never an answer.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A response, split."""

    think: str
    """Thinking: from the first `<think>` (or the start) to the last `</think>`; "" if absent.
    Of an unfinished thinking part, all that was written."""
    rest: str
    """The answer part: text after the last `</think>`; the whole text if no tag is in it; "" if
    the thinking was never closed."""
    answer: str | None
    """Content of the last closed answer tag in `rest`; None if there is none, or if the last one
    opened there was never closed."""
    complete: bool
    """False if a `<think>` was left open: a cut or endless answer."""
    has_think: bool
    """Whether a closed thinking part was found."""


def split(response: str, think_tag: str = "think", answer_tag: str = "answer") -> Parsed:
    """Split a response at its tags.

    `response` is what the model wrote, after any prefill (a template that ends in `<think>` has
    opened the tag for the model). An empty `answer_tag` (chat style) looks for no answer tag.

    >>> split("<think>1 + 1</think> <answer>2</answer>").answer
    '2'
    >>> split("<think>1 + 1").complete
    False
    """
    opening, closing = f"<{think_tag}>", f"</{think_tag}>"
    closed_at, opened_at = response.rfind(closing), response.rfind(opening)
    if opened_at > closed_at:  # -1 means absent: an opening after the last closing is still open
        first = response.find(opening)
        return Parsed(
            think=response[first + len(opening) :].strip(),
            rest="",
            answer=None,
            complete=False,
            has_think=closed_at >= 0,
        )
    if closed_at < 0:
        return Parsed(
            think="",
            rest=response,
            answer=last_tag(response, answer_tag),
            complete=True,
            has_think=False,
        )
    first = response.find(opening)
    start = first + len(opening) if 0 <= first < closed_at else 0
    rest = response[closed_at + len(closing) :]
    return Parsed(
        think=response[start:closed_at].strip(),
        rest=rest,
        answer=last_tag(rest, answer_tag),
        complete=True,
        has_think=True,
    )


def last_tag(text: str, tag: str) -> str | None:
    """Content of the last `<tag>…</tag>`, stripped; None if there is none or it is still open."""
    if not tag:
        return None
    opening, closing = f"<{tag}>", f"</{tag}>"
    start = text.rfind(opening)
    if start < 0:
        return None
    start += len(opening)
    end = text.find(closing, start)
    return text[start:end].strip() if end >= 0 else None

"""The format reward: 1.0 exactly for thinking, then answer, each in its tags, and nothing else.

    <think> something </think> blanks <answer> something </answer>

judged on prefill + response, stripped. Each tag occurs once. With answer_tag="" (chat style):

    <think> something </think> something

exactly one thinking part, first and not empty, and a summary that is not empty; one that the token cap
cut is not complete. The tables of what is accepted and refused are in docs/rewards.md and, the same, in
the tests. Linear time; the contents are not judged.
"""


def format_reward(
    text: str, think_tag: str = "think", answer_tag: str = "answer", *, cut: bool = False
) -> float:
    """1.0 if the whole text has the asked form, else 0.0.

    `cut`: it ended at the token cap. With an answer tag the closed tag says enough.

    >>> format_reward("<think>1 + 1</think> <answer>2</answer>")
    1.0
    """
    text = text.strip()
    thinking, rest = _tagged(text, think_tag)
    if not thinking:
        return 0.0
    if not answer_tag:
        return float(bool(rest.strip()) and not cut)
    if f"<{answer_tag}>" in thinking or f"</{answer_tag}>" in thinking:
        return 0.0
    answer, after = _tagged(rest.strip(), answer_tag)
    return float(bool(answer) and not after)


def _tagged(text: str, tag: str) -> tuple[str, str]:
    """(stripped content, what follows) of a text that starts with the tag and has it once."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    if not text.startswith(opening) or text.count(opening) != 1 or text.count(closing) != 1:
        return "", text
    content, _, rest = text[len(opening) :].partition(closing)
    return content.strip(), rest

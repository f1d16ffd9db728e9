"""Rewards for the length of an answer: relative to its group (Kimi k1.5), and within a band.

Lengths are tokens, or any other count. The penalty just before the token cap (DAPO) is
`mix.overlong_penalty`.
"""

from collections.abc import Sequence


def group_lengths(lengths: Sequence[int], correct: Sequence[bool]) -> list[float]:
    """Length reward of each answer to one question, -0.5..0.5. Kimi k1.5, section 2.3.3.

        lambda = 0.5 - (length - shortest) / (longest - shortest)
        reward = lambda if the answer is right, else min(0, lambda)

    The shortest and the longest are taken over all answers of the group, right or wrong. A group
    whose answers are equally long earns 0. The paper starts training without this reward and adds
    it with a weight later.

    Raises:
        ValueError: not one verdict for each length.

    >>> group_lengths([100, 200, 300], [True, True, False])
    [0.5, 0.0, -0.5]
    """
    if len(lengths) != len(correct):
        raise ValueError(f"{len(lengths)} lengths, but {len(correct)} verdicts")
    if not lengths:
        return []
    shortest, longest = min(lengths), max(lengths)
    if shortest == longest:
        return [0.0] * len(lengths)
    rewards = []
    for length, right in zip(lengths, correct, strict=True):
        relative = 0.5 - (length - shortest) / (longest - shortest)
        rewards.append(relative if right else min(0.0, relative))
    return rewards


def absolute(tokens: int, low: int, high: int) -> float:
    """0 for low <= tokens <= high; outside, linearly down to -1 at 0 and at twice `high`.

    A form of our own: unlike the group's it needs no other answer, and it does not push what is
    within the band.

    Raises:
        ValueError: not 0 <= low <= high, or high is 0.

    >>> absolute(50, 100, 1000), absolute(1500, 100, 1000), absolute(9000, 100, 1000)
    (-0.5, -0.5, -1.0)
    """
    if not 0 <= low <= high or high == 0:
        raise ValueError(f"low={low}, high={high}: a band needs 0 <= low <= high and high above 0")
    if tokens < low:
        return -(low - tokens) / low
    if tokens > high:
        return -min((tokens - high) / high, 1.0)
    return 0.0

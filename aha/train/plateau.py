"""When a stage ends before its last step: what it is measured by no longer rises.

    mean of the last window  <=  mean of the window before + gain     DeepSeek-R1 §2.3.2: "convergence"

Two windows of steps that lie side by side and do not overlap; asked once at the end of each. The values
are one number a step: the mean accuracy of its answers, or the mean reward where nothing has a right
answer. Pure functions: a resumed run decides what the unbroken one would have.

Not covered: what would have come after. A curve that stands still for two windows and rises again is
ended by this rule (docs/all_scenarios.md says how often).
"""

from collections.abc import Sequence
from statistics import fmean


def kept(values: Sequence[float], value: float, window: int) -> list[float]:
    """The values with one more, as many as two windows hold."""
    return [*values, value][-2 * window :]


def means(values: Sequence[float], window: int) -> tuple[float, float] | None:
    """Mean of the window before the last one, and of the last one; None before there are two.

    >>> means([0.1, 0.3, 0.4, 0.6], 2)
    (0.2, 0.5)
    >>> means([0.3, 0.4, 0.6], 2)
    """
    if len(values) < 2 * window:
        return None
    return fmean(values[-2 * window : -window]), fmean(values[-window:])


def stands_still(before: float, now: float, gain: float) -> bool:
    """Is the last window no more than `gain` above the one before?

    >>> stands_still(0.50, 0.504, 0.005), stands_still(0.50, 0.51, 0.005)
    (True, False)
    """
    return now - before <= gain


def sentence(before: float, now: float, *, window: int, gain: float, what: str, step: int) -> str:
    """Why a stage ended, for the console, the events and the summary."""
    return (
        f"ended at step {step} by its plateau: {what} was {before:.4f} in the window of {window} steps "
        f"before and {now:.4f} in the last one, not more than {gain:g} above it"
    )

"""Tokens that this process has sampled and trained on since it began.

Like the processor time of a process, the numbers only rise and belong to nobody: whoever wants what one
stage took reads them twice (stages/cost.py). Nothing is computed from them.

Holds:           two counters.
Must stay true:  tokens that are computed again (a phase that is repeated after a kill, an evaluation)
                 count again: this is what was spent, not what was kept.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Counted by the thread that computes; others may read."""

    sampled: int = 0
    """Tokens of answers, those of evaluations included."""
    trained: int = 0
    """Tokens that went through a forward pass with gradient: prompts and answers; a prompt that several
    answers share in one stream counts once."""


TALLY = Tally()
"""Of this process."""

"""The rule that ends a stage: hand-made windows, a slow reference, and how often noise fools it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.train import plateau

VALUES = st.lists(st.floats(0, 1), max_size=40)


def test_nothing_is_said_before_two_windows():
    for steps in range(6):
        assert plateau.means([0.5] * steps, 3) is None
    assert plateau.means([0.5] * 6, 3) == (0.5, 0.5)


@pytest.mark.parametrize(
    "values, gain, still",
    [
        ([0.1, 0.1, 0.3, 0.3], 0.1, False),  # 0.2 more
        ([0.1, 0.1, 0.3, 0.3], 0.25, True),
        ([0.3, 0.3, 0.1, 0.1], 0.0, True),  # it fell
        ([0.5, 0.5, 0.5, 0.5], 0.0, True),  # no gain is not a gain
    ],
)
def test_the_rule_by_hand(values, gain, still):
    assert plateau.stands_still(*plateau.means(values, 2), gain) is still


@given(VALUES, st.integers(1, 8))
def test_two_windows_are_all_that_is_kept(values, window):
    """A run that remembers two windows decides as one that remembers everything."""
    recent: list[float] = []
    for number, value in enumerate(values, 1):
        recent = plateau.kept(recent, value, window)
        assert len(recent) <= 2 * window
        assert plateau.means(recent, window) == plateau.means(values[:number], window)


def ended_early(window: int, rise: float, *, steps: int = 600, runs: int = 400) -> float:
    """Share of runs that the rule ends, although accuracy rises by `rise` a step all the time.

    Noise of a step: 0.036, the spread of three runs of the laptop recipe (16 questions x 16 answers).
    """
    random = np.random.default_rng(0)
    values = rise * np.arange(steps) + random.normal(0, 0.036, (runs, steps))
    windows = values.reshape(runs, steps // window, window).mean(-1).tolist()
    fooled = [any(plateau.stands_still(a, b, 0.005) for a, b in pairwise(run)) for run in windows]
    return sum(fooled) / runs


def test_the_window_of_the_docs_is_not_fooled_and_a_short_one_is():
    """docs/all_scenarios.md: 50 steps see a rise of half a point in ten steps; 20 steps do not."""
    assert ended_early(50, 0.0005) < 0.1
    assert ended_early(50, 0.001) == 0
    assert ended_early(20, 0.0005) > 0.9

"""A short soak; the long one: python -m tests.chaos.soak."""

import sys

import pytest

from tests.chaos.soak import soak


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")
def test_nothing_is_lost_and_nothing_is_left_behind():
    facts = soak(600, size=3, seconds=1.0, seed=0, timed_cases=200)
    assert facts["wrong"] == []
    assert {"correct", "wrong", "timeout", "error"} <= set(facts["verdicts"])
    assert facts["killed"] > 0

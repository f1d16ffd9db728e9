"""Freed memory goes back to the machine where the C library can do that."""

import sys

import pytest
import torch

from aha.train import memory

BLOCK, COUNT = 100 << 10, 2000


@pytest.mark.skipif(memory._trim() is None, reason="no GNU C library")
def test_what_was_freed_is_given_back():
    kept = []
    blocks = []
    for _ in range(COUNT):
        blocks.append(torch.ones(BLOCK // 4))
        kept.append(bytearray(64))  # small things in between that stay
    held = memory.resident()
    del blocks
    if held - memory.resident() > 0.5 * COUNT * BLOCK:
        pytest.skip("it went back by itself: what lay on top of the heap, after other tests")
    memory.give_back(least=0)
    assert held - memory.resident() > 0.8 * COUNT * BLOCK
    assert all(len(one) == 64 for one in kept)


def test_little_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_trim", lambda: pytest.fail)
    memory.give_back(least=1 << 60)


def test_another_machine_does_nothing(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    memory._trim.cache_clear()
    try:
        assert memory._trim() is None
        memory.give_back(least=0)
    finally:
        memory._trim.cache_clear()

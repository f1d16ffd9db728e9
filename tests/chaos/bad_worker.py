"""A grader process that misbehaves where the gold says so: `math` cases only, for soak.py."""

import ctypes
import os
import signal
import time

from aha.records import Grade
from aha.rewards import grade, worker
from aha.rewards.answer import Extracted

HANG, BOMB, CRASH = " #hang", " #bomb", " #crash"


def bad(gold: str, found: Extracted) -> Grade:
    """Hang, take all memory, or die by one of three ways; else the real verdict."""
    if gold.endswith(HANG):
        while True:
            time.sleep(1)
    if gold.endswith(BOMB):
        taken = []
        while True:
            taken.append(bytearray(1 << 26) if len(gold) % 2 else b"x" * (1 << 26))
    if gold.endswith(CRASH):
        how = len(gold) % 3
        if how == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == 1:
            os._exit(3)
        ctypes.string_at(0)
    return real(gold, found)


real = grade.GRADERS["math"]


def main() -> None:
    grade.GRADERS["math"] = bad
    worker.main()

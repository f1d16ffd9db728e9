"""How much memory there is, and giving back what was freed.

The C library keeps freed blocks of up to 32 MB for itself, and the tensors of a small model are of that size:
what an update has freed is not there for sampling, and micro-batches of many shapes leave holes. An update of
Qwen2.5-0.5B that needs 4.9 GB held 10.5 so. To let the machine map every block anew takes a quarter of the
speed, so freed memory goes back between phases, and between micro-batches only where memory is short.
"""

import ctypes
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

WORTH = 2 << 30
"""Bytes of memory in use below which nothing is given back: it would only be asked for again."""


def available_memory(device: str = "cpu") -> int:
    """Bytes free for us now: of the GPU, or of the machine (or its container)."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    try:
        if limit.exists() and (text := limit.read_text().strip()) != "max":
            free = min(free, int(text) - int(used.read_text()))
    except (OSError, ValueError):
        pass
    return free


def relieve() -> None:
    """Between micro-batches: give back where less is free than half of what the process holds."""
    held = resident()
    if held >= WORTH and available_memory() < held // 2:
        give_back()


def give_back(least: int = WORTH) -> None:
    """Return freed memory if the process holds `least` bytes; does nothing where that cannot be done."""
    trim = _trim()
    if trim is not None and resident() >= least:
        trim(0)


def resident() -> int:
    """Bytes of this process that are in memory now; 0 where it is not known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@lru_cache
def _trim() -> Any:
    """malloc_trim of the GNU C library; None with another one."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)

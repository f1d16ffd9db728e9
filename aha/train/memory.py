"""Memory that one phase has freed, given back to the machine before the next one begins.

The C library keeps freed blocks of up to 32 MB for itself, and the tensors of a small model are of that
size: what an update has freed is not there for sampling, which then asks for more. On a laptop the two
together may not fit.
"""

import ctypes
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

WORTH = 2 << 30
"""Bytes of memory in use below which nothing is given back: it would only be asked for again."""


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

"""What may be used, and what came of a program."""

from dataclasses import dataclass
from typing import Literal

Tier = Literal["bwrap", "landlock", "none"]
TIERS: tuple[Tier, ...] = ("bwrap", "landlock", "none")
"""Strongest first."""

Status = Literal["ok", "failed", "compile", "timeout", "memory", "output", "never_started"]
"""ok: exit code 0. failed: another, or a signal. compile: the program is not Python. timeout, memory,
output: over a limit. never_started: our failure, not the program's; tried twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one program."""

    seconds: float = 5.0
    """Wall clock, from the start of the interpreter; processor time may be as much."""
    memory_mb: int = 256
    output_bytes: int = 1 << 20
    """Of standard output and of standard error, each."""
    file_mb: int = 16
    """One file."""
    disk_mb: int = 64
    """All files together (bwrap only)."""
    processes: int = 0
    """Processes beside the program itself; 0 refuses to fork. Threads are allowed."""
    open_files: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a program did."""

    status: Status
    exit_code: int | None = None
    """Negative: the signal that ended it. None: it was killed, or never started."""
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    tier: Tier = "none"
    reason: str = ""

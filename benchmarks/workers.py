"""Contestants as resident processes: one JSON line asks, one JSON line answers.

Each contestant runs under the interpreter of its own environment and stays loaded, so rounds can
alternate in one call while only the one whose turn it is computes. `Worker` is the asking side,
`Channel` and `serve` are the answering one. Standard library only: every environment imports this.

A worker's own output goes to `.bench/logs/NAME.log`. It is the first that the kernel ends when
memory is short, and with a limit it gets an error of its allocator before that.
"""

import contextlib
import ctypes
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import measure

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".bench" / "logs"
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}


class WorkerError(Exception):
    """A contestant said that it failed, or ended."""


class Worker:
    """A contestant's process.

    Args:
        name: for logs and messages.
        python: its interpreter.
        module: what it runs, e.g. benchmarks.contestants.ours.
        threads: of its computation.
        limit: bytes of memory that it may take; None is no limit.
    """

    def __init__(
        self,
        name: str,
        python: str | Path,
        module: str,
        *,
        threads: int,
        environment: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        """What it said of itself when its model was loaded: versions, threads, settings."""
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = LOGS / f"{name.replace('/', '_').replace(' ', '_')}.log"
        env = {**os.environ, **QUIET, **(environment or {})}
        env |= {"OMP_NUM_THREADS": str(threads), "BENCH_THREADS": str(threads)}
        env |= {"BENCH_MEMORY": str(limit or 0), "PYTHONPATH": str(ROOT)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(python), "-m", module],
                cwd=ROOT,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerError: it failed or ended; with what it said and where its log is.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"what": what, **fields}).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = b""
        if not line:
            code = self.process.wait()
            tail = self.log.read_text("utf-8", "replace").strip().splitlines()[-8:]
            raise WorkerError(
                f"{self.name} ended with code {code} at {what!r} (log: {self.log}):\n  "
                + "\n  ".join(tail)
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name} at {what!r}: {answer['error']} (log: {self.log})")
        if what == "load":
            self.facts = {k: v for k, v in answer.items() if k != "peak_rss"}
        return answer

    def close(self) -> None:
        """Ask it to end; end it if it does not within 20 s."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                assert self.process.stdin is not None
                self.process.stdin.write(b'{"what": "quit"}\n')
                self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Channel:
    """The answering side: requests come in at standard input, answers leave where standard output
    was; what libraries print goes to the log."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        with contextlib.suppress(OSError):  # Linux: end us before the program that asks
            Path("/proc/self/oom_score_adj").write_text("1000")
        if limit := int(os.environ.get("BENCH_MEMORY", "0")):
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    def read(self) -> dict[str, Any]:
        """The next request; `quit` when the asking side is gone."""
        line = sys.stdin.readline()
        request: dict[str, Any] = json.loads(line) if line else {"what": "quit"}
        return request

    def answer(self, **fields: Any) -> None:
        self._out.write(json.dumps(fields).encode() + b"\n")
        self._out.flush()


def serve(handlers: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer requests until `quit`; an exception is an answer with `error`."""
    channel = Channel()
    while (request := channel.read())["what"] != "quit":
        what = request.pop("what")
        try:
            fields = handlers[what](**request)
            fields["peak_rss"] = peak_rss()
            trim()
        except Exception as error:
            import traceback

            traceback.print_exc()
            fields = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        channel.answer(**fields)


def peak_rss() -> int:
    """Bytes: the highest resident size of this process, plus that of each process it started."""
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return sum(_status(pid, "VmHWM") for pid in _family(os.getpid()))


def resident() -> int:
    """Bytes resident now, this process and those it started; 0 where the system does not say."""
    return sum(_status(pid, "VmRSS") for pid in _family(os.getpid()))


def reset_peak() -> None:
    """Forget the highest resident size of this process (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def trim() -> None:
    """Give freed memory back to the system, so that contestants can stay side by side (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += _family(int(child))
    return found


def _status(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def in_turns(
    rounds: int,
    contestants: Mapping[str, Callable[[int], Any]],
    *,
    minutes: float = math.inf,
    warm_up: bool = True,
    told: bool = True,
) -> dict[str, list[Any]]:
    """A warm-up of each (number 0, not kept), then rounds; who begins changes with the round.

    Args:
        rounds: how many; from the third on none begins that would likely end after `minutes`.
        warm_up: False where everyone has just done the same work.
    """
    names = list(contestants)
    kept: dict[str, list[Any]] = {name: [] for name in names}
    start = time.perf_counter()
    for number in range(0 if warm_up else 1, rounds + 1):
        if number <= 1:
            start = time.perf_counter()
        elif number > measure.LEAST:
            spent = time.perf_counter() - start
            if spent * number / (number - 1) > 60 * minutes:
                print(f"  {number - 1} of {rounds} rounds: {minutes:g} minutes", file=sys.stderr)
                break
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            value = contestants[name](number)
            if told:
                label = f"round {number}" if number else "warm-up"
                print(f"  {label} {name} {time.perf_counter() - began:.1f} s", file=sys.stderr)
            if number:
                kept[name].append(value)
    return kept

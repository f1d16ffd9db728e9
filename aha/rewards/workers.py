"""The grader pool: verdicts from processes that can be killed.

    submit(key, kind, gold, response) ... poll() -> [(key, Grade), ...] ... drain()

The caller extracts the answer (linear time) and settles what needs no work; the rest goes to worker
processes, one case at a time each. A worker that is over its deadline, dies or talks nonsense is
killed and replaced, and its case is tried once more on another one; then it is "timeout" or
"error". Workers start with the first case that needs one; one that has grown large is replaced.

Single-threaded for the caller: no threads, no signals. Nothing is waited for longer than asked.
Must stay true:  a verdict is in the journal before the caller sees it.
Not covered:     a machine so loaded that an honest case needs more than its deadline (a timeout,
                 counted, never a reward).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aha.data.tasks import gym
from aha.errors import RunError
from aha.files import json_line
from aha.records import Grade
from aha.rewards.answer import Extracted
from aha.rewards.code import TIER
from aha.rewards.grade import FAILED, GRADER_VERSION, OPEN, find, patience, preparation
from aha.rewards.math_answer import settle

FIRST_TRY = 0.6
"""Share of a case's seconds that the first try may take; the second gets the rest."""
START_SECONDS = 120.0
CACHE_SIZE = 50_000
MAX_QUEUE = 4096
"""Cases that may wait; `submit` works on the others until there is room."""
MAX_GOLD = 4096
_LONGEST_GOLD = {"gym": gym.MAX_GOLD, "code": 1 << 20, "choice": 1 << 14, "code_io": 1 << 16}
PIPE_BYTES = 1 << 18
"""Above the largest job (answer and gold, every character escaped) but for tests of programs: there
writing waits for a worker that has nothing to do but read."""
WORKER = "from aha.rewards.worker import main; main()"
"""What a worker process runs."""


@dataclass
class _Case:
    key: str
    digest: str
    kind: str
    gold: str
    found: Extracted
    seconds: float | None = None
    """Of one try, where the kind says so."""
    tries: int = 0


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    errors: Any
    started: float
    buffer: bytes = b""
    ready: bool = False
    case: _Case | None = None
    since: float = 0.0
    number: int = field(default=0)
    prepared: set[str] = field(default_factory=set)


class GraderPool:
    """Verdicts with a deadline.

    `seconds` bounds the worker time of one case, both tries together. `journal` is a JSONL file of
    verdicts: opened again, the same key with the same case gets the same verdict, without grading.
    `sandbox` is the tier for programs (aha/sandbox/box.py); a worker starts its own with the first.
    """

    def __init__(
        self,
        workers: int = 2,
        seconds: float = 2.0,
        journal: Path | None = None,
        sandbox: str = "auto",
    ):
        if workers < 1 or seconds <= 0:
            raise ValueError(f"workers={workers}, seconds={seconds}: both must be positive")
        self.size = workers
        self.seconds = seconds
        self.sandbox = sandbox
        self.killed = 0
        """Workers killed at a deadline."""
        self.retried = 0
        """Cases tried a second time."""
        self.retired = 0
        """Workers replaced because they had grown."""
        self.judged = 0
        """Verdicts of workers, not of the cache or the caller."""
        self._busy_seconds = 0.0
        self._journal = _Journal(journal) if journal is not None else None
        self._workers: list[_Worker] = []
        self._queue: deque[_Case] = deque()
        self._done: list[tuple[_Case, Grade]] = []
        self._cache: OrderedDict[str, Grade] = OrderedDict()
        self._selector = selectors.DefaultSelector()
        self._failed_starts = 0
        self._jobs = 0

    def __enter__(self) -> "GraderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, key: str, kind: str, gold: str, response: str, **options: Any) -> None:
        """Queue one case; options as in grade.grade (prefill, think_tag, answer_tag, mode)."""
        found = find(kind, response, **options)
        case = _Case(key, _digest(kind, gold, found), kind, gold, found, patience(kind, gold))
        known = self._known(case)
        if known is not None:
            self._done.append((case, known))
            return
        while len(self._queue) >= MAX_QUEUE:  # ends: every case has a deadline
            self._step(1.0)
        self._queue.append(case)
        self._step(0.0)

    def poll(self, timeout: float = 0.0) -> list[tuple[str, Grade]]:
        """Verdicts that came in since the last call, waiting at most `timeout` seconds for one.

        Raises:
            RunError: workers cannot be started.
        """
        until = time.monotonic() + timeout
        self._step(0.0)
        while not self._done and self._busy() and (left := until - time.monotonic()) > 0:
            self._step(left)
        return self._hand_over()

    def drain(self) -> list[tuple[str, Grade]]:
        """All verdicts that are still owed. Ends: every case has a deadline."""
        verdicts = self.poll()
        while self.pending():
            verdicts += self.poll(1.0)
        return verdicts

    def pending(self) -> int:
        """Cases submitted and not yet returned by poll or drain."""
        live = sum(worker.case is not None for worker in self._workers)
        return len(self._queue) + live + len(self._done)

    def rate(self) -> float | None:
        """Verdicts per second of work, summed over the workers; None before the first."""
        return self.size * self.judged / self._busy_seconds if self._busy_seconds else None

    def forget(self) -> None:
        """Empty the journal: a checkpoint has made the verdicts in it useless."""
        if self._journal is not None:
            self._journal.reset()

    def close(self) -> None:
        """End the workers; unfinished cases are dropped."""
        for worker in list(self._workers):
            self._kill(worker)
        self._queue.clear()
        self._selector.close()
        if self._journal is not None:
            self._journal.close()

    def _known(self, case: _Case) -> Grade | None:
        if self._journal is not None:
            journaled = self._journal.find(case.key, case.digest)
            if journaled is not None:
                return journaled
        cached = self._cache.get(case.digest)
        if cached is not None:
            self._cache.move_to_end(case.digest)
            return cached
        if case.kind == "open":  # nothing to compare: no text keeps a process busy
            return OPEN
        if len(case.gold) > _LONGEST_GOLD.get(case.kind, MAX_GOLD):
            return Grade(status="error", score=0.0, reason="gold_unparsed: too_long")
        return settle(case.gold, case.found) if case.kind == "math" else _empty(case.found)

    def _hand_over(self) -> list[tuple[str, Grade]]:
        done, self._done = self._done, []
        if self._journal is not None:
            self._journal.add([(case.key, case.digest, grade) for case, grade in done])
        return [(case.key, grade) for case, grade in done]

    def _busy(self) -> bool:
        return bool(self._queue) or any(worker.case is not None for worker in self._workers)

    def _step(self, timeout: float) -> None:
        """Start and feed workers, read what they say for at most `timeout` s, kill the late."""
        self._feed()
        if self._workers:
            for selected, _ in self._selector.select(min(timeout, self._next_deadline())):
                self._read(selected.data)
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.case is not None and now - worker.since > self._limit(worker.case):
                self._read(worker)  # a verdict that lay there while nobody polled is kept
                if worker.case is not None and worker in self._workers:
                    self.killed += 1
                    self._lost(worker, "timeout", "time_limit")
            elif not worker.ready and now - worker.started > START_SECONDS:
                self._never_started(worker)
        self._feed()

    def _feed(self) -> None:
        while len(self._workers) < min(self.size, len(self._queue) + self._live()):
            self._start()
        for worker in list(self._workers):
            if not self._queue:
                return
            if worker.ready and worker.case is None:
                needed = preparation(self._queue[0].kind, self._queue[0].gold)
                if needed and needed not in worker.prepared:
                    self._prepare(worker, self._queue[0].kind, needed)
                else:
                    self._send(worker, self._queue.popleft())

    def _live(self) -> int:
        return sum(worker.case is not None for worker in self._workers)

    def _limit(self, case: _Case) -> float:
        if case.seconds is not None:
            return case.seconds
        return self.seconds * (FIRST_TRY if case.tries == 1 else 1 - FIRST_TRY)

    def _next_deadline(self) -> float:
        now = time.monotonic()
        ends = [w.since + self._limit(w.case) - now for w in self._workers if w.case is not None]
        return max(0.0, min(ends, default=1.0)) + 0.001

    def _start(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *(entry for entry in sys.path if entry)])
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"PYTHONPATH": path, "AHA_GRADER_PARENT": str(os.getpid())}
        environment[TIER] = self.sandbox
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # address space
        errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        os.set_blocking(process.stdout.fileno(), False)
        with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere 64 KiB do
            fcntl.fcntl(process.stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        worker = _Worker(process, errors, time.monotonic())
        self._workers.append(worker)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)

    def _prepare(self, worker: _Worker, kind: str, needed: str) -> None:
        """Let a worker load what a case needs, as if it started: no case's deadline runs."""
        worker.ready, worker.started = False, time.monotonic()
        worker.prepared.add(needed)
        self._write(worker, {"kind": kind, "prepare": needed})

    def _send(self, worker: _Worker, case: _Case) -> None:
        self._jobs += 1
        worker.number, worker.case, worker.since = self._jobs, case, time.monotonic()
        case.tries += 1
        found = [case.found.text, case.found.place, case.found.reason]
        job = {"id": worker.number, "kind": case.kind, "gold": case.gold, "found": found}
        self._write(worker, job)

    def _write(self, worker: _Worker, job: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        try:  # it fits into the pipe, which is empty: the worker has read all that came before
            worker.process.stdin.write(json.dumps(job).encode() + b"\n")
            worker.process.stdin.flush()
        except OSError:
            self._lost(worker, "error", "worker_died")

    def _read(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        assert worker.process.stdout is not None
        ended = False
        while True:
            try:
                data = os.read(worker.process.stdout.fileno(), 65536)
            except BlockingIOError:
                break
            if not data:
                ended = True
                break
            worker.buffer += data
        *lines, worker.buffer = worker.buffer.split(b"\n")
        for line in lines:
            if not self._heard(worker, line):
                return
        if ended or len(worker.buffer) > 1 << 20:
            if worker.ready or worker.case is not None:
                self._lost(worker, "error", "worker_died")
            else:
                self._never_started(worker)

    def _heard(self, worker: _Worker, line: bytes) -> bool:
        """Take one line of a worker; False if it was nonsense and the worker is gone."""
        try:
            said = json.loads(line)
            if said.get("ready"):
                worker.ready = True
                self._failed_starts = 0
                return True
            grade = Grade(**said["grade"])
            right_number = said["id"] == worker.number
        except (ValueError, TypeError, KeyError, AttributeError):
            right_number = False
        if not right_number or worker.case is None:
            self._lost(worker, "error", "worker_talked_nonsense")
            return False
        case, worker.case = worker.case, None
        self._busy_seconds += time.monotonic() - worker.since
        self.judged += 1
        if grade.ms > self._limit(case) * 1000:  # it came, but after its own deadline
            self._again(case, Grade(status="timeout", score=0.0, reason="time_limit", ms=grade.ms))
        elif grade.reason.startswith(FAILED):  # a grader that raised: once more, in a fresh worker
            said["retire"] = True
            self._again(case, grade)
        else:
            self._finish(case, grade)
        if said.get("retire"):
            self.retired += 1
            self._kill(worker)
            return False
        return True

    def _lost(self, worker: _Worker, status: Any, reason: str) -> None:
        """Kill a worker; its case is tried again, or gets the verdict."""
        case, elapsed = worker.case, (time.monotonic() - worker.since) * 1000
        self._kill(worker)
        if case is not None:
            verdict = Grade(
                status=status, score=0.0, reason=reason, extracted=case.found.text, ms=elapsed
            )
            self._again(case, verdict)

    def _again(self, case: _Case, verdict: Grade) -> None:
        if case.tries < 2:
            self.retried += 1
            self._queue.appendleft(case)
        else:
            self._finish(case, verdict)

    def _finish(self, case: _Case, grade: Grade) -> None:
        if not grade.failed:
            self._cache[case.digest] = grade
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        self._done.append((case, grade))

    def _kill(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout, worker.errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _never_started(self, worker: _Worker) -> None:
        worker.errors.seek(0)
        said = worker.errors.read()[-2000:].decode("utf-8", "replace").strip()
        self._kill(worker)
        self._failed_starts += 1
        if self._failed_starts >= 3:
            raise RunError(
                "a grader process does not start (3 attempts in a row). It said: "
                f"{said or 'nothing'}. Check that `python -c 'import math_verify'` works (for gym: "
                "sources `import reasoning_gym` too) and that 1 GiB of address space is allowed "
                "(ulimit -v)"
            )


_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT", "TMPDIR")
"""The only environment that workers get: no tokens, no keys."""


def _empty(found: Extracted) -> Grade | None:
    if found.text is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    return None


def _digest(kind: str, gold: str, found: Extracted) -> str:
    """Identity of a case: everything that the verdict depends on."""
    parts = [GRADER_VERSION, kind, gold, found.text, found.place, found.reason]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class _Journal:
    """Verdicts by key and case, appended and flushed line by line."""

    def __init__(self, path: Path):
        self.path = path
        self.verdicts: dict[tuple[str, str], Grade] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._load() if path.exists() else 0
        self.file = path.open("ab")
        self.file.truncate(whole)  # a torn last line goes

    def _load(self) -> int:
        """Read the verdicts; the number of bytes up to the first line that is not whole."""
        data = self.path.read_bytes()
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            try:
                row = json.loads(data[at:end])
                self.verdicts[row["key"], row["case"]] = Grade(**row["grade"])
            except (ValueError, TypeError, KeyError):
                return at
            at = end + 1
        return at

    def find(self, key: str, digest: str) -> Grade | None:
        return self.verdicts.get((key, digest))

    def add(self, rows: list[tuple[str, str, Grade]]) -> None:
        lines = []
        for key, digest, grade in rows:
            if (key, digest) not in self.verdicts:
                self.verdicts[key, digest] = grade
                row = {"key": key, "case": digest, "grade": asdict(grade)}
                lines.append(json_line(row) + "\n")
        if lines:
            self.file.write("".join(lines).encode("utf-8"))
            self.file.flush()

    def reset(self) -> None:
        self.verdicts.clear()
        self.file.truncate(0)

    def close(self) -> None:
        self.file.close()

"""The process that forks untrusted programs: small, single-threaded, without secrets.

Started with an empty environment before a model is loaded, so that no fork copies its memory or its
threads. Reads JSON lines {"id", "program", "arguments", "stdin", "limits", "tier", "session"} (bytes in
base64), runs a few at a time, writes {"id", "outcome"}. A session's input stays open: {"id", "more"} adds
to it, {"id", "end"} kills it; {"id", "started"} says that it runs, and its lines of output come as
{"id", "line"}. Ends, and ends every program, when its own input does.
"""

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from aha.sandbox import jail
from aha.sandbox.interpreter import Interpreter, find, with_packages
from aha.sandbox.types import Limits, Outcome, Tier

START_SECONDS = 10.0
"""Until the interpreter must have begun with the program."""
TEAR_DOWN_SECONDS = 1.0
"""Until a killed namespace must be gone."""
TRIES = 2
CHUNK = 1 << 16


@dataclass
class _Job:
    id: Any
    program: bytes
    arguments: tuple[str, ...]
    stdin: bytes
    limits: Limits
    tier: Tier
    session: bool = False
    tries: int = 0


@dataclass
class _Running:
    job: _Job
    pid: int
    slot: int
    folder: str
    begun: float
    pipes: dict[int, str] = field(default_factory=dict)
    """Open descriptors of ours, by name."""
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    mark: bytes = b""
    info: bytes = b""
    started: float = 0.0
    status: str = ""
    """Why we killed it."""
    killed: float = 0.0
    inner: int = -1
    """bwrap: a descriptor of the first process of its namespace. When that one dies, all of them do."""
    unsent: bytearray = field(default_factory=bytearray)
    """Input that is not written yet."""


class Supervisor:
    """Runs jobs in at most `slots` jails."""

    def __init__(self, slots: int) -> None:
        self.python: Interpreter = with_packages(find())
        self._free = list(range(slots))
        self._waiting: deque[_Job] = deque()
        self._running: dict[int, _Running] = {}  # by pid
        self._selector = selectors.DefaultSelector()
        self._said: list[tuple[Any, str, Any]] = []

    def submit(self, job: _Job) -> None:
        self._waiting.append(job)

    def add(self, key: Any, data: bytes) -> None:
        """More input for a session."""
        for job in self._waiting:
            if job.id == key:
                job.stdin += data
        for running in self._running.values():
            if running.job.id == key:
                running.unsent += data
                for descriptor in [d for d, name in running.pipes.items() if name == "stdin"]:
                    if descriptor not in self._selector.get_map():
                        self._selector.register(descriptor, selectors.EVENT_WRITE, running)

    def end(self, key: Any) -> None:
        """Kill a session."""
        for job in [job for job in self._waiting if job.id == key]:
            self._waiting.remove(job)
            self._said.append((key, "outcome", Outcome(status="never_started", tier=job.tier)))
        for running in self._running.values():
            if running.job.id == key:
                self._stop(running, "failed")

    def watch(self, descriptor: int) -> None:
        """Also wake when this one can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ, None)

    def step(self) -> tuple[list[tuple[Any, str, Any]], set[int]]:
        """Start what can start, wait until something happens.

        Returns:
            what is to be said: (id, "outcome", "started" or "line", it); and watched descriptors that
            can be read.
        """
        while self._waiting and self._free:
            self._start(self._waiting.popleft())
        ready: set[int] = set()
        for key, _ in self._selector.select(self._patience()):
            if key.data is None:
                ready.add(key.fd)
            else:
                self._moved(key.data, key.fd)
        self._look()
        said, self._said = self._said, []
        return said, ready

    def close(self) -> None:
        for running in list(self._running.values()):
            self._kill(running)
            self._reap(running, os.WEXITED)

    # -- one program ---------------------------------------------------------------------------------

    def _start(self, job: _Job) -> None:
        job.tries += 1
        slot = self._free.pop()
        folder = tempfile.mkdtemp(prefix="aha-box-")
        main = os.path.join(folder, "main.py")
        with open(main, "wb") as file:
            file.write(job.program)
        os.chmod(main, 0o444)
        text = os.open(main, os.O_RDONLY | os.O_CLOEXEC)
        pairs = {name: os.pipe2(os.O_CLOEXEC) for name in ("stdin", "out", "err", "mark", "info")}
        box = jail.Box(job.tier, self.python, folder, job.arguments, job.limits, slot)
        pid = os.fork()
        if pid == 0:
            _streams(pairs)
            jail.enter(box, text, pairs["info"][1])
        os.close(text)
        running = _Running(job, pid, slot, folder, time.monotonic())
        running.unsent += job.stdin
        for name, (reading, writing) in pairs.items():
            ours, theirs = (writing, reading) if name == "stdin" else (reading, writing)
            os.close(theirs)
            os.set_blocking(ours, False)
            running.pipes[ours] = name
            event = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
            self._selector.register(ours, event, running)
        self._running[pid] = running

    def _moved(self, running: _Running, descriptor: int) -> None:
        name = running.pipes.get(descriptor)
        if name is None:
            return
        try:
            if name == "stdin":
                if running.unsent:
                    del running.unsent[: os.write(descriptor, running.unsent[:CHUNK])]
                if running.unsent:
                    return
                if running.job.session:
                    self._selector.unregister(descriptor)  # until there is more
                else:
                    self._close(running, descriptor)
                return
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # the program closed its input
            self._close(running, descriptor)
            return
        if not data:
            self._close(running, descriptor)
        elif name == "info":  # it may come in parts; bwrap closes it
            running.info += data
            with contextlib.suppress(OSError, ValueError, KeyError):
                if running.inner < 0:
                    running.inner = os.pidfd_open(json.loads(running.info)["child-pid"])
        elif name == "mark":
            running.mark += data
            running.started = time.monotonic()
            if running.job.session:
                self._said.append((running.job.id, "started", b""))
            self._close(running, descriptor)
        else:
            kept = running.out if name == "out" else running.err
            kept += data
            if running.job.session and name == "out":
                *lines, rest = kept.split(b"\n")
                kept[:] = rest
                self._said += [(running.job.id, "line", bytes(line)) for line in lines]
            if len(kept) > running.job.limits.output_bytes:
                del kept[running.job.limits.output_bytes :]
                self._stop(running, "output")

    def _patience(self) -> float | None:
        """Seconds until a limit; a program may also end without closing its pipes, or close them first."""
        if not self._running:
            return None
        soonest = min(self._deadline(r) for r in self._running.values()) - time.monotonic()
        closed = any(r.killed or not r.pipes for r in self._running.values())
        return max(0.0, min(soonest, 0.002 if closed else 0.05))

    def _deadline(self, running: _Running) -> float:
        if running.started:
            return running.started + running.job.limits.seconds
        return running.begun + START_SECONDS

    def _look(self) -> None:
        """Programs that ended, and those over their time."""
        now = time.monotonic()
        for running in list(self._running.values()):
            if now >= self._deadline(running):
                self._stop(running, "timeout" if running.started else "never_started")
            self._reap(running, os.WEXITED | os.WNOHANG)

    def _stop(self, running: _Running, why: str) -> None:
        running.status = running.status or why
        running.killed = running.killed or time.monotonic()
        self._kill(running)

    def _kill(self, running: _Running) -> None:
        if running.inner >= 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(running.inner, signal.SIGKILL)
            if time.monotonic() < running.killed + TEAR_DOWN_SECONDS:
                return  # bwrap ends after the whole namespace has: then nothing of it is left
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(running.pid, signal.SIGKILL)

    def _reap(self, running: _Running, how: int) -> None:
        seen = os.waitid(os.P_PID, running.pid, how | os.WNOWAIT)
        if seen is None:
            return
        self._kill(running)  # what is left of its process group
        _, code = os.waitpid(running.pid, 0)
        for descriptor, name in list(running.pipes.items()):  # what it wrote before it ended
            while name in ("out", "err", "mark") and running.pipes.get(descriptor):
                before = len(running.out) + len(running.err) + len(running.mark)
                self._moved(running, descriptor)
                if len(running.out) + len(running.err) + len(running.mark) == before:
                    break
            if descriptor in running.pipes:
                self._close(running, descriptor)
        if running.inner >= 0:
            os.close(running.inner)
        del self._running[running.pid]
        self._free.append(running.slot)
        shutil.rmtree(running.folder, ignore_errors=True)
        outcome = _outcome(running, os.waitstatus_to_exitcode(code))
        if outcome.status == "never_started" and running.job.tries < TRIES:
            self._waiting.appendleft(running.job)
        else:
            self._said.append((running.job.id, "outcome", outcome))

    def _close(self, running: _Running, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)
        os.close(descriptor)
        del running.pipes[descriptor]


def _streams(pairs: dict[str, tuple[int, int]]) -> None:
    """In the child: its ends of the pipes become descriptors 0 to MARK."""
    ends = [pairs["stdin"][0], pairs["out"][1], pairs["err"][1], pairs["mark"][1]]
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, jail.MARK + 1) for end in ends]
    for target, end in enumerate(high):
        os.dup2(end, target, inheritable=True)
    for signum in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


def _outcome(running: _Running, code: int) -> Outcome:
    now, limits = time.monotonic(), running.job.limits
    status, reason = running.status, ""
    if not running.mark and not status:
        status, reason = "never_started", bytes(running.err[-300:]).decode("utf-8", "replace")
    elif not status:
        last = bytes(running.err).rstrip().rpartition(b"\n")[2]
        if code == 0:
            status = "ok"
        elif running.mark == b"c":
            status = "compile"
        elif code == -signal.SIGXCPU:
            status = "timeout"
        elif last.startswith(b"MemoryError"):
            status = "memory"
        else:
            status = "failed"
    return Outcome(
        status=status,  # type: ignore[arg-type]
        exit_code=None if running.status else code,
        stdout=bytes(running.out[: limits.output_bytes]),
        stderr=bytes(running.err[: limits.output_bytes]),
        seconds=now - (running.started or running.begun),
        tier=running.job.tier,
        reason=reason,
    )


# -- the process --------------------------------------------------------------------------------------


def main() -> None:
    """Serve jobs from standard input until it ends."""
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # no other process may read this one
    supervisor = Supervisor(int(sys.argv[1]))
    os.set_blocking(0, False)
    supervisor.watch(0)
    pending = b""
    try:
        while True:
            said, ready = supervisor.step()
            for key, kind, what in said:
                _write(1, json.dumps({"id": key, kind: _plain(what)}).encode() + b"\n")
            if 0 in ready:
                data = os.read(0, 1 << 20)
                if not data:
                    break
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    _obey(supervisor, json.loads(line))
    finally:
        supervisor.close()


def _obey(supervisor: Supervisor, fields: dict[str, Any]) -> None:
    if "more" in fields:
        supervisor.add(fields["id"], base64.b64decode(fields["more"]))
    elif "end" in fields:
        supervisor.end(fields["id"])
    else:
        supervisor.submit(_job(fields))


def _plain(what: Outcome | bytes) -> Any:
    if isinstance(what, bytes):
        return base64.b64encode(what).decode()
    fields = asdict(what)
    return fields | {name: _plain(fields[name]) for name in ("stdout", "stderr")}


def _job(fields: dict[str, Any]) -> _Job:
    return _Job(
        fields["id"],
        base64.b64decode(fields["program"]),
        tuple(fields["arguments"]),
        base64.b64decode(fields["stdin"]),
        Limits(**fields["limits"]),
        fields["tier"],
        fields["session"],
    )


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]

"""Run untrusted programs: the caller's side.

    with Sandbox() as sandbox:
        outcome = sandbox.run(b"print(input())", stdin=b"7\\n")

A supervisor process does the forking (supervisor.py). Must stay true: nothing that a program does can
reach this process but the bytes of its outcome.
"""

import base64
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aha.errors import RunError
from aha.sandbox import jail, landlock, seccomp
from aha.sandbox.types import TIERS, Limits, Outcome, Tier

SUPERVISOR = "from aha.sandbox.supervisor import main; main()"
HELLO = b"print(6 * 7)"
ENDED = "the sandbox's supervisor has ended; nothing more can be run"


class Sandbox:
    """Programs in jails of one tier.

    Args:
        tier: "auto" takes the strongest that works here; "none" runs programs bare, with limits only.
        slots: programs at a time.

    Raises:
        RunError: the tier does not work on this machine; for "auto": neither bwrap nor landlock does.
    """

    def __init__(self, tier: str = "auto", *, slots: int | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", SUPERVISOR, str(slots or os.cpu_count() or 1)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={},
            start_new_session=True,
        )
        self._next = 0
        self._done: dict[int, Outcome] = {}
        self._lines: dict[int, deque[bytes]] = {}
        """Of programs whose input is open."""
        self._begun: set[int] = set()
        self._buffer = b""
        self.tier: Tier = "none"
        try:
            self.tier = self._probed(tier)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    def submit(
        self,
        program: bytes,
        *,
        arguments: Sequence[str] = (),
        stdin: bytes = b"",
        limits: Limits | None = None,
    ) -> int:
        """Queue a program; the number by which `wait` gives its outcome."""
        return self._submit(program, arguments, stdin, limits or Limits(), self.tier)

    def wait(self, number: int) -> Outcome:
        """The outcome of a program, once."""
        while number not in self._done:
            self._receive(None)
        self._lines.pop(number, None)
        return self._done.pop(number)

    # -- a conversation with a program ------------------------------------------------------------------

    def open(self, program: bytes, *, limits: Limits | None = None) -> int:
        """Start a program whose input stays open; end it by `end`. `limits.seconds` is for all of it.

        Returns when it runs: waits for others that have every slot.
        """
        self._lines[self._next] = deque()
        number = self._submit(program, (), b"", limits or Limits(), self.tier, session=True)
        while number not in self._begun and number not in self._done:
            self._receive(None)
        self._begun.discard(number)
        return number

    def send(self, number: int, data: bytes) -> None:
        self._say({"id": number, "more": base64.b64encode(data).decode()})

    def line(self, number: int, seconds: float) -> bytes | None:
        """The next line of its output; None: it has ended, or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while not self._lines[number]:
            left = deadline - time.monotonic()
            if number in self._done or left <= 0:
                return None
            self._receive(left)
        return self._lines[number].popleft()

    def end(self, number: int) -> Outcome:
        """Kill it, if it has not ended; its outcome."""
        if number not in self._done:
            self._say({"id": number, "end": True})
        return self.wait(number)

    def _receive(self, seconds: float | None) -> None:
        """Take in what the supervisor says, waiting at most so long for it."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        if not select.select([descriptor], [], [], seconds)[0]:
            return
        data = os.read(descriptor, 1 << 20)
        if not data:
            raise RunError(ENDED)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            found = json.loads(line)
            if "started" in found:
                self._begun.add(found["id"])
                continue
            if "line" in found:
                if found["id"] in self._lines:
                    self._lines[found["id"]].append(base64.b64decode(found["line"]))
                continue
            fields = found["outcome"]
            for name in ("stdout", "stderr"):
                fields[name] = base64.b64decode(fields[name])
            self._done[found["id"]] = Outcome(**fields)

    # -- programs that are given all their input ----------------------------------------------------------

    def run(
        self,
        program: bytes,
        *,
        arguments: Sequence[str] = (),
        stdin: bytes = b"",
        limits: Limits | None = None,
    ) -> Outcome:
        return self.wait(self.submit(program, arguments=arguments, stdin=stdin, limits=limits))

    def close(self) -> None:
        """End the supervisor and every program."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _submit(
        self,
        program: bytes,
        arguments: Sequence[str],
        stdin: bytes,
        limits: Limits,
        tier: Tier,
        *,
        session: bool = False,
    ) -> int:
        number, self._next = self._next, self._next + 1
        job: dict[str, Any] = {"id": number, "arguments": list(arguments), "tier": tier}
        job["program"] = base64.b64encode(program).decode()
        job["stdin"] = base64.b64encode(stdin).decode()
        self._say(job | {"limits": asdict(limits), "session": session})
        return number

    def _say(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise RunError(ENDED) from error

    def _probed(self, wanted: str) -> Tier:
        """The tier to use: each is tried by running a program in it."""
        if wanted not in ("auto", *TIERS):
            raise RunError(f"no sandbox {wanted!r}; there are auto, {', '.join(TIERS)}")
        if wanted == "none":
            return "none"
        why = []
        for tier in [tier for tier in TIERS[:-1] if wanted in ("auto", tier)]:
            reason = missing(tier)
            if not reason:
                outcome = self.wait(self._submit(HELLO, (), b"", Limits(), tier))
                if outcome.status == "ok" and outcome.stdout == b"42\n":
                    return tier
                said = outcome.stderr.decode("utf-8", "replace").strip()
                reason = f"{outcome.status} {outcome.reason or said[-200:]}".strip()
            why.append(f"{tier}: {reason}")
        raise RunError(
            f"no sandbox works here ({'; '.join(why)}). Install bubblewrap, or allow user namespaces or "
            "Landlock; sandbox='none' runs model-written programs without any protection"
        )


def missing(tier: str) -> str:
    """What this machine lacks for a tier, as far as can be said without trying it; "": nothing."""
    if not seccomp.supported():
        return "Linux on x86_64 or aarch64 only"
    if tier == "bwrap" and jail.bubblewrap() is None:
        return "bubblewrap is not installed"
    if tier == "landlock" and not landlock.abi():
        return "this kernel has no Landlock"
    return ""

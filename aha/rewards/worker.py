"""A grader process: one JSON line in, one out, until its input ends.

A line with a case gives a verdict; one with "prepare" loads what a kind of cases needs.

Started by workers.GraderPool in a fresh interpreter (`python -c`), so that neither the caller's
`__main__` nor torch is loaded. It dies with its parent, may use 1 GiB of memory, and has its own
output: whatever a library prints goes nowhere.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict

MEMORY_BYTES = 1 << 30
RETIRE_BYTES = MEMORY_BYTES // 2
"""A worker whose memory was ever above this is replaced after its verdict: what a large case left
behind must not be missing for the next."""
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer jobs from stdin on the original stdout."""
    _die_with_parent()
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)

    from aha.rewards.answer import Extracted
    from aha.rewards.grade import judge, prepare
    from aha.rewards.symbolic import warm_up

    warm_up()
    out.write('{"ready": true}\n')
    out.flush()
    for line in sys.stdin:
        job = json.loads(line)
        if "prepare" in job:
            prepare(job["kind"], job["prepare"])
            out.write('{"ready": true}\n')
            out.flush()
            continue
        grade = judge(job["kind"], job["gold"], Extracted(*job["found"]))
        reply = {"id": job["id"], "grade": asdict(grade), "retire": _grown()}
        out.write(json.dumps(reply) + "\n")
        out.flush()


def _grown() -> bool:
    """Whether this process was ever large. Not ru_maxrss, which starts with that of the parent."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 > RETIRE_BYTES
    return False  # no Linux: a worker is replaced when it fails


def _die_with_parent() -> None:
    """Linux: be killed when the parent is, however it ends. Elsewhere the end of input must do."""
    parent = int(os.environ.get("AHA_GRADER_PARENT", "0"))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:  # it died before the call above
        os._exit(0)

"""Thousands of gradings with hangs, memory bombs and dying workers among them: what is left behind?

    python -m tests.chaos.soak [--cases 20000] [--workers 4] [--seconds 0.5] [--seed 0]

Honest cases of every kind that needs no sandbox, one in fifty a program, and by default 5 % hangs, 2 %
memory bombs, 2 % crashes, in random order through one GraderPool. Checked: each key gets one verdict,
and the right one; no process, descriptor or memory of ours is left; as many honest cases per second
after it as before. One JSON line at the end; exit code 1 if anything was wrong.
"""

import argparse
import contextlib
import gc
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from aha.records import Grade
from aha.rewards import workers
from aha.rewards.workers import GraderPool
from tests.chaos.bad_worker import BOMB, CRASH, HANG

WORKER = "from tests.chaos.bad_worker import main; main()"
HANGS, BOMBS, CRASHES, PROGRAMS = 0.05, 0.02, 0.02, 0.02
TIMED = 20_000
"""Honest cases that are timed before and after."""


@dataclass(frozen=True)
class Case:
    kind: str
    gold: str
    response: str
    wanted: tuple[str, str]
    """(status, how the reason begins)."""


OURS = ("failed", "")
"""A memory bomb ends as it reaches the limit first: of memory or of time."""


def cases(count: int, seed: int) -> Iterator[Case]:
    """Every case is different, so that none is answered from the cache."""
    draw = random.Random(seed)
    for number in range(count):
        where = draw.random()
        if where < HANGS:
            yield Case("math", f"x+{number}{HANG}", "\\boxed{x}", ("timeout", "time_limit"))
        elif where < HANGS + BOMBS:
            yield Case("math", f"x+{number}{BOMB}", "\\boxed{x}", OURS)
        elif where < HANGS + BOMBS + CRASHES:
            spare = "+" * (number % 3)
            yield Case("math", f"x+{number}{spare}{CRASH}", "\\boxed{x}", ("error", "worker_died"))
        elif where < HANGS + BOMBS + CRASHES + PROGRAMS:
            yield program(number, right=draw.random() < 0.5)
        else:
            yield honest(number, draw)


def honest(number: int, draw: random.Random) -> Case:
    """A case that a worker has to decide, and what is right."""
    right = draw.random() < 0.5
    n = number + (0 if right else 1)
    verdict = ("correct", "") if right else ("wrong", "")
    kind = draw.choice(("math", "math", "exact", "countdown"))
    if kind == "countdown":
        gold = json.dumps({"numbers": [number, 7, 2], "target": number + 14})
        return Case(
            kind, gold, f"<answer>{number} + 7 * 2{'' if right else ' + 1'}</answer>", verdict
        )
    if kind == "exact":
        return Case(kind, f"word {number}", f"<answer>word {n}</answer>", verdict)
    return Case(kind, f"x^2+{number}*y", f"\\boxed{{y*{n}+x^2}}", verdict)


def program(number: int, *, right: bool) -> Case:
    """A function and a test of it."""
    gold = {"form": "call", "entry": "f", "cases": [{"args": [1], "expected": number + 1}]}
    text = f"```python\ndef f(x):\n    return x + {number if right else number + 1}\n```"
    verdict = ("correct", "") if right else ("wrong", "wrong_value")
    return Case("code", json.dumps(gold), text, verdict)


@dataclass(frozen=True)
class Held:
    """What this process holds."""

    children: int
    descriptors: int
    megabytes: float


def held() -> Held:
    gc.collect()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return Held(len(children), len(os.listdir("/proc/self/fd")), int(resident.split()[1]) / 1024)


def started_by(name: str) -> int:
    """Processes of this machine that were started with a text in their command line."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += name.encode() in entry.read_bytes()
    return found


def timed(pool: GraderPool, tag: str, count: int) -> float:
    """Honest cases per second, of `count` new ones."""
    draw = random.Random(f"{tag} {count}")
    start = time.perf_counter()
    for number in range(count):
        case = honest(10_000_000 + number + (count if tag == "after" else 0), draw)
        pool.submit(f"{tag}/{number}", case.kind, case.gold, case.response)
    assert len(pool.drain()) == count
    return count / (time.perf_counter() - start)


def soak(
    count: int, *, size: int, seconds: float, seed: int, timed_cases: int
) -> dict[str, object]:
    """Run it; what came out, with `wrong`: everything that should not have been."""
    wrong: list[str] = []
    verdicts: Counter[str] = Counter()
    wanted: dict[str, tuple[str, str]] = {}
    before = held()
    with mock.patch.object(workers, "WORKER", WORKER), GraderPool(size, seconds=seconds) as pool:
        timed(pool, "warm", timed_cases // 4)
        rate = timed(pool, "before", timed_cases)
        start, middle = time.perf_counter(), held()

        def take(ended: list[tuple[str, Grade]]) -> None:
            for key, grade in ended:
                verdicts[grade.status] += 1
                status, reason = wanted.pop(key, ("", "nobody asked"))
                said = (
                    "failed" if (status, grade.failed) == ("failed", True) else grade.status,
                    grade.reason,
                )
                if said[0] != status or not said[1].startswith(reason):
                    wrong.append(f"{key}: {said} instead of {(status, reason)}")

        for number, case in enumerate(cases(count, seed)):
            wanted[str(number)] = case.wanted
            pool.submit(str(number), case.kind, case.gold, case.response)
            take(pool.poll(0))
        while pool.pending():
            take(pool.poll(1.0))
        took = time.perf_counter() - start
        again = timed(pool, "after", timed_cases)
        late = held()
        facts = {"killed": pool.killed, "retried": pool.retried, "retired": pool.retired}
    after = held()
    wrong += [f"{key}: no verdict" for key in wanted]
    if (after.children, after.descriptors) != (before.children, before.descriptors):
        wrong.append(f"left behind: {after}, before: {before}")
    if late.descriptors > middle.descriptors + 4:
        wrong.append(f"descriptors in use grew: {middle} -> {late}")
    left = started_by("bad_worker")
    if left:
        wrong.append(f"{left} grader processes are left")
    return facts | {
        "cases": count,
        "seconds": round(took, 1),
        "verdicts": dict(verdicts),
        "per_s_before": round(rate, 1),
        "per_s_after": round(again, 1),
        "ratio": round(again / rate, 3),
        "megabytes": [round(x.megabytes, 1) for x in (before, middle, late, after)],
        "wrong": wrong,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timed", type=int, default=TIMED)
    asked = parser.parse_args()
    facts = soak(
        asked.cases,
        size=asked.workers,
        seconds=asked.seconds,
        seed=asked.seed,
        timed_cases=asked.timed,
    )
    print(json.dumps(facts))
    raise SystemExit(bool(facts["wrong"]))


if __name__ == "__main__":
    main()

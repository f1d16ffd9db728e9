"""Kill a run at any instant, resume it, and compare it with one that was never killed.

    python -m tests.chaos.resume --kills 100 [--seed 0] [--folder DIR]

Makes a tiny model and recipe, runs it unbroken in a process of its own, and then, many times: run,
SIGKILL, `aha resume` until it is done, compare everything to the byte (same.py). Three kinds of
kills: before every write of one checkpoint and at a sample of other writes (child.py); at random
instants of the whole run, some of them more than once, some in a fresh process so that its start is
killed too; and of a grader process only, which must change nothing.

One line a kill, and a JSON line at the end; exit code 1 if one run was not equal.
Not covered: loss of power (a kill leaves to the disk what the system had already taken).
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import child, same
from tests.chaos.child import Fault
from tests.chaos.small_run import make_model, write_recipe

DEADLINE = 120.0
"""Seconds that one attempt may take; it takes a few."""


@dataclass
class Trials:
    folder: Path
    random: random.Random
    seconds: float = 0.0
    """Wall time of an unbroken run in a forked child."""
    outcomes: list[tuple[str, bool]] = field(default_factory=list)
    attempts: int = 0

    @property
    def reference(self) -> Path:
        return self.folder / "reference" / "run"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.toml"

    def prepare(self) -> None:
        """Model, recipe and the unbroken run, which is a process of its own."""
        pid = child.fork(lambda: bool(make_model(self.folder / "model")) - 1, self.log)
        assert wait(pid) == 0, self.log.read_text("utf-8")
        write_recipe(self.recipe, self.folder / "model", run_dir=self.folder / "trial")
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "aha", *self.run_words(self.reference)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, done.stderr
        self.line("reference", "own process", "", None, time.perf_counter() - start)
        start = time.perf_counter()
        root = self.fresh()
        code = self.attempt(self.run_words(root))
        self.seconds = time.perf_counter() - start
        self.judge("forked", "not killed", "", root, code, start)

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    def fresh(self) -> Path:
        """No trial is there; the folder it will make."""
        shutil.rmtree(self.folder / "trial", ignore_errors=True)
        return self.folder / "trial" / "run"

    def run_words(self, root: Path) -> list[str]:
        return ["run", str(self.recipe), "--set", f"run_dir={root.parent}", "--set", "threads=1"]

    def words(self, root: Path) -> list[str]:
        """What a user types after a kill."""
        return ["resume", str(root)] if (root / "recipe.toml").is_file() else self.run_words(root)

    def attempt(self, words: Sequence[str], fault: Fault | None = None) -> int:
        self.attempts += 1
        return wait(child.aha(words, output=self.log, fault=fault))

    def until_done(self, root: Path) -> int:
        return self.attempt(self.words(root))

    def judge(self, kind: str, at: str, what: str, root: Path, code: int, start: float) -> None:
        wrong = f"exit code {code}" if code else same.difference(self.reference, root)
        self.outcomes.append((kind, wrong is None))
        self.line(kind, at, what, wrong, time.perf_counter() - start)
        if wrong:
            kept = self.folder / f"lost-{len(self.outcomes)}"
            shutil.copytree(root.parent, kept, dirs_exist_ok=True)
            print(f"    kept in {kept}; output in {self.log}", flush=True)

    def line(self, kind: str, at: str, what: str, wrong: str | None, seconds: float) -> None:
        said = "equal" if wrong is None else f"NOT EQUAL: {wrong}"
        print(f"{kind:<10} {at:<14} {what:<58.58} {seconds:5.1f} s  {said}", flush=True)

    # -- kinds of kills ---------------------------------------------------------------------------

    def events(self) -> list[tuple[int, str, str, bool]]:
        """What an unbroken run does to files: number, kind, path, can it be torn."""
        log = self.folder / "events.tsv"
        root = self.fresh()
        code = self.attempt(self.run_words(root), Fault(root, log=log))
        assert code == 0, self.log.read_text("utf-8")[-2000:]
        rows = [line.split("\t") for line in log.read_text("utf-8").splitlines()]
        return [(int(number), kind, path, torn == "1") for number, kind, path, torn in rows]

    def at_writes(
        self, *, elsewhere: int, every: int, between: tuple[int, int] | None = None
    ) -> None:
        """Before each `every`-th write of one checkpoint, and `elsewhere` of the others.

        `between`: before every write with a number in this range instead.
        """
        events = self.events()
        first, last = one_checkpoint(events)
        within = [e for e in events if first <= e[0] <= last]
        others = [e for e in events if not first <= e[0] <= last]
        print(f"{len(events)} writes in a run, {len(within)} of them in one checkpoint")
        if between:
            chosen = [e for e in events if between[0] <= e[0] <= between[1]]
        else:
            chosen = within[self.random.randrange(every) :: every]
            chosen += sorted(self.random.sample(others, min(elsewhere, len(others))))
        for number, kind, path, torn in chosen:
            self.at_write(number, kind, path, torn=False)
            if torn:
                self.at_write(number, kind, path, torn=True)

    def at_write(self, number: int, kind: str, path: str, *, torn: bool) -> None:
        start = time.perf_counter()
        root = self.fresh()
        code = self.attempt(self.run_words(root), Fault(root, at=number, torn=torn))
        if code == -signal.SIGKILL:
            code = self.until_done(root)
        else:
            print(f"    event {number} did not come: exit code {code}")
        what = f"{kind} {path.removeprefix('zero/')}"
        self.judge("torn" if torn else "write", f"event {number}", what, root, code, start)

    def at_random(self, number: int) -> None:
        start = time.perf_counter()
        root = self.fresh()
        cold = number % 10 == 9
        times = 1 if self.random.random() < 0.8 else self.random.randint(2, 4)
        instants = []
        words = self.run_words(root)
        for _ in range(times):
            instant = self.random.uniform(0, self.seconds + (4.0 if cold else 0.0))
            instants.append(f"{instant:.2f}")
            self.attempts += 1
            pid = cold_start(words) if cold else child.aha(words, output=self.log)
            time.sleep(instant)
            os.kill(pid, signal.SIGKILL)
            wait(pid)
            words = self.words(root)
        reached = steps(root)
        code = self.until_done(root)
        what = f"{'own process, ' if cold else ''}at {', '.join(instants)} s, step {reached}"
        self.judge("instant", f"kill {number + 1}", what, root, code, start)

    def of_grader(self, number: int) -> None:
        """The run goes on without being resumed."""
        start = time.perf_counter()
        root = self.fresh()
        pid = child.aha(self.run_words(root), output=self.log)
        self.attempts += 1
        time.sleep(self.random.uniform(0.2, 0.8) * self.seconds)
        killed = 0
        for worker in children(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                killed += 1
        code = wait(pid)
        self.judge("grader", f"kill {number + 1}", f"{killed} processes", root, code, start)


def one_checkpoint(events: Sequence[tuple[int, str, str, bool]]) -> tuple[int, int]:
    """First and last event of the last checkpoint: it is written, and an older one is dropped."""
    names = sorted({path.split("/")[2].split(".")[0] for _, _, path, _ in events if _in(path)})
    name = names[-1]
    writing = [n for n, _, path, _ in events if _in(path) and f"{name}.tmp-" in path]
    first, last = writing[0], writing[-1]
    after = [n for n, _, path, _ in events if n > last and not path.startswith("zero/checkpoints")]
    return first, min(after) - 1


def _in(path: str) -> bool:
    return path.startswith("zero/checkpoints/step_")


def steps(root: Path) -> int:
    """Metric lines of the killed run."""
    path = root / "zero" / "metrics.jsonl"
    return max(0, path.read_bytes().count(b"\n") - 1) if path.is_file() else 0


def cold_start(words: Sequence[str]) -> int:
    command = [sys.executable, "-m", "aha", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.returncode = 0  # it is waited for by its number
    return process.pid


def children(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def wait(pid: int) -> int:
    """Exit code of a child, minus the signal that ended it; an attempt that hangs is an error."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError(f"process {pid} was not done after {DEADLINE} s")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.resume", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills at random instants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep model, runs and output here")
    parser.add_argument(
        "--every", type=int, default=1, help="each n-th write of a checkpoint; 0: none"
    )
    parser.add_argument("--elsewhere", type=int, default=20, help="writes outside of it")
    parser.add_argument(
        "--between",
        type=int,
        nargs=2,
        metavar=("FIRST", "LAST"),
        help="instead: every write with these numbers, of the checkpoint or not",
    )
    parser.add_argument("--graders", type=int, default=3, help="kills of grader processes only")
    given = parser.parse_args(words)
    start = time.perf_counter()
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        child.warm_up()
        trials = Trials(folder.resolve(), random.Random(given.seed))
        trials.prepare()
        if given.every:
            trials.at_writes(elsewhere=given.elsewhere, every=given.every, between=given.between)
        for number in range(given.kills):
            trials.at_random(number)
        for number in range(given.graders):
            trials.of_grader(number)
    tried, equal = Counter(), Counter()
    for kind, good in trials.outcomes:
        tried[kind] += 1
        equal[kind] += good
    summary = {
        "tried": tried.total(),
        "equal": equal.total(),
        "lost": tried.total() - equal.total(),
        "by_kind": {kind: [equal[kind], tried[kind]] for kind in tried},
        "attempts": trials.attempts,
        "seconds": round(time.perf_counter() - start, 1),
        "seed": given.seed,
    }
    print(json.dumps(summary))
    return int(summary["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())

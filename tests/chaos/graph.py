"""Kill a run of a whole graph of stages, resume it, and compare every artefact with an unbroken run.

    python -m tests.chaos.graph [RECIPE] [--kills 10] [--seed 0] [--marks all|none] [--folder DIR] [--set a=b]

Runs the recipe unbroken in a process of its own and hashes what it made (aha/stages/artefacts.py). Then
SIGKILL to the whole process group of `aha`, and `aha resume`, in two ways: in one run at random instants,
spread over the time that an unbroken run took; and in another one at the marks of every stage: just before
and just after its last results, and DONE, are renamed into place. So kills come within stages, between them,
and while they finish. Without RECIPE: small_graph.py, every kind of stage at its smallest.

An instant is so many seconds after a certain file was there, in both runs: a resumed run is as far as it was
when it was killed, however busy the machine is.

One line a kill, a JSON line at the end; exit code 1 if one run was not equal.
Not covered: loss of power; a machine that computes other bits (another processor or thread count).
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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha.config import load
from aha.stages import artefacts, dag
from tests.chaos import child
from tests.chaos.small_graph import write_recipe
from tests.chaos.small_run import make_model

ONCE = ("fingerprint.json", "rollouts/*.parquet", "result.json", "dialogues.jsonl", "hf/README.md")
"""Files of a stage that tell how far it is: an attempt that finds one does not write it again, but for the
phase or the finish that it was killed in."""


@dataclass(frozen=True)
class Mark:
    """An instant at which a process kills its own group."""

    path: str
    """Below the run's folder: what is renamed into place."""
    after: bool
    """Just after the rename, or just before it."""

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.path}"


@dataclass
class Trials:
    folder: Path
    recipe: Path
    overrides: list[str]
    random: random.Random
    deadline: float
    seconds: float = 0.0
    """Of the unbroken run in a forked child."""
    timeline: list[tuple[float, str]] = field(default_factory=list)
    """When each of its files was there, from its start."""
    outcomes: list[tuple[str, list[str]]] = field(default_factory=list)
    """Of each finished run: how it was killed, and what is not as in the unbroken one."""
    kills: int = 0
    missed: list[str] = field(default_factory=list)
    """Marks that did not come."""

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    @property
    def root(self) -> Path:
        return self.folder / "trial" / "run"

    def words(self, root: Path) -> list[str]:
        """What a user types: `run` the first time, then `resume`."""
        if (root / "recipe.toml").is_file():
            return ["resume", str(root)]
        changes = [*self.overrides, f"run_dir={root.parent}", "name=run"]
        return ["run", str(self.recipe), *(w for change in changes for w in ("--set", change))]

    def prepare(self) -> None:
        """The unbroken run, in a process of its own; then one in a forked child, which must be equal."""
        root, began = self.folder / "reference" / "run", time.perf_counter()
        shutil.rmtree(root.parent, ignore_errors=True)
        with self.log.open("ab") as log:
            done = subprocess.run(
                [sys.executable, "-m", "aha", "--debug", *self.words(root)],
                stdout=log,
                stderr=log,
                timeout=self.deadline,
            )
        assert done.returncode == 0, self.log.read_text("utf-8")[-4000:]
        self.expected = artefacts.hashes(root)
        self.say(f"unbroken, {len(self.expected)} files", began)
        self.fresh()
        started = time.time()
        code = self.wait(self.start())
        self.seconds = time.time() - started
        self.timeline = timeline(self.root, started)
        self.judge("forked", code)

    def marks(self) -> list[Mark]:
        """Of every stage, in the order of the graph."""
        reference, found = self.folder / "reference" / "run", []
        for node in dag.graph(load(reference / "recipe.toml")):
            done = json.loads((reference / node.name / dag.DONE).read_text("utf-8"))
            names = [f"checkpoints/{done.get('checkpoint')}", "dialogues.jsonl", "model", dag.DONE]
            names += ["measures/measures.json", "measures/DONE"]  # after DONE of the stage
            found += [
                Mark(f"{node.name}/{name}", after)
                for name in names
                if (reference / node.name / name).exists()
                for after in (False, True)
            ]
        return found

    def fresh(self) -> None:
        shutil.rmtree(self.root.parent, ignore_errors=True)

    def start(self, mark: Mark | None = None) -> int:
        """One attempt, in a process group of its own."""
        words = self.words(self.root)

        def run() -> int:
            from aha.__main__ import _run

            os.setpgid(0, 0)
            sys.argv = ["aha", *words]
            if mark is not None:
                install(self.root, mark)
            return _run(words, debug=True)

        pid = child.fork(run, self.log)
        with contextlib.suppress(OSError):  # the child does it too; whoever comes first
            os.setpgid(pid, pid)
        return pid

    def wait(self, pid: int) -> int:
        until = time.monotonic() + self.deadline
        while time.monotonic() < until:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise TimeoutError(f"an attempt was not done after {self.deadline} s; see {self.log}")

    def killed(self, anchor: Path | None, seconds: float) -> int | None:
        """Kill an attempt so many seconds after a file is there, or after its start.

        Returns its exit code if it ended before; None if it was killed.
        """
        pid, until = self.start(), None
        while until is None or time.monotonic() < until:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if until is None and (anchor is None or anchor.exists()):
                until = time.monotonic() + seconds
            time.sleep(0.001)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.kills += 1
        return None

    def at_instants(self, kills: int) -> None:
        """`kills` of one run, at instants that are drawn evenly from the time of the unbroken one."""
        self.fresh()
        for instant in sorted(self.random.uniform(0, self.seconds) for _ in range(kills)):
            began = time.perf_counter()
            before = [(at, name) for at, name in self.timeline if at <= instant]
            at, name = before[-1] if before else (0.0, "")
            code = self.killed(self.root / name if name else None, instant - at)
            where = f"at {instant:.2f} s, {instant - at:.2f} s after {name or 'the start'}"
            if code is not None:
                self.missed.append(f"{where} (ended before, exit code {code})")
            self.say(f"kill {self.kills} {where}: {self.where()}", began)
        if kills:
            self.judge("instants", self.wait(self.start()))

    def at_marks(self) -> None:
        """At every mark, one after the other, in one run."""
        self.fresh()
        for mark in self.marks():
            began = time.perf_counter()
            code = self.wait(self.start(mark))
            if code != -signal.SIGKILL:
                self.missed.append(f"{mark} (exit code {code})")
                self.say(f"{mark}: DID NOT COME, exit code {code}", began)
                continue
            self.kills += 1
            self.say(str(mark), began)
        self.judge("marks", self.wait(self.start()))

    def judge(self, kind: str, code: int) -> None:
        wrong = [f"exit code {code}"] if code else artefacts.left_over(self.root)
        if not wrong:
            wrong = artefacts.difference(self.expected, artefacts.hashes(self.root))
        self.outcomes.append((kind, wrong))
        said = f"NOT EQUAL: {', '.join(wrong[:6])}" if wrong else "equal"
        print(f"{kind}: {said}", flush=True)
        if wrong:
            kept = self.folder / f"lost-{len(self.outcomes)}"
            shutil.copytree(self.root.parent, kept, dirs_exist_ok=True)
            print(f"    kept in {kept}; output in {self.log}", flush=True)

    def where(self) -> str:
        """What is done and what was begun."""
        if not (self.root / "recipe.toml").is_file():
            return "no run folder yet"
        states = [
            (node.name, dag.status(node, self.root))
            for node in dag.graph(load(self.root / "recipe.toml"))
        ]
        done = sum(state == "done" for _, state in states)
        begun = [name for name, state in states if state == "begun"]
        return f"{done} of {len(states)} stages done" + (f", in {begun[0]}" if begun else "")

    def say(self, what: str, began: float) -> None:
        print(f"{what:<100.100} {time.perf_counter() - began:6.1f} s", flush=True)


def timeline(root: Path, started: float) -> list[tuple[float, str]]:
    """(seconds after `started`, path) of the files that a run writes once, in order."""
    once = [*ONCE, dag.DONE]
    found = [path for name in once for path in root.glob(f"*/**/{name}")]
    return sorted((path.stat().st_mtime - started, str(path.relative_to(root))) for path in found)


def install(root: Path, mark: Mark) -> None:
    """Kill this process group at the mark; cannot be undone."""
    target = os.path.abspath(root / mark.path)

    def die() -> None:
        os.killpg(0, signal.SIGKILL)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "os.rename" and os.path.abspath(os.fsdecode(arguments[1])) == target:
            die()

    def around(function: Any) -> Any:
        def wrapped(source: Any, to: Any, **named: Any) -> None:
            function(source, to, **named)
            if os.path.abspath(os.fsdecode(to)) == target:
                die()

        return wrapped

    if mark.after:
        os.rename, os.replace = around(os.rename), around(os.replace)
    else:
        sys.addaudithook(hook)


def fixed(recipe: Path, overrides: Sequence[str]) -> list[str]:
    """Threads and memory, where the recipe leaves them to the machine: runs can only be equal with one."""
    said = load(recipe, list(overrides))
    more = [] if said.threads else ["threads=1"]
    return [*overrides, *more, *([] if said.memory_gb else ["memory_gb=4"])]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.graph", description=__doc__)
    parser.add_argument(
        "recipe", type=Path, nargs="?", help="default: the smallest with every kind"
    )
    parser.add_argument("--kills", type=int, default=10, help="kills at random instants")
    parser.add_argument("--marks", choices=("all", "none"), default="all", help="kills at renames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep runs and output here")
    parser.add_argument("--set", action="append", default=[], help="override a field of the recipe")
    parser.add_argument("--deadline", type=float, default=3600.0, help="seconds of one attempt")
    given = parser.parse_args(words)
    began = time.perf_counter()
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        child.warm_up()
        recipe = given.recipe
        if recipe is None:
            made = child.fork(lambda: bool(make_model(folder / "model")) - 1, folder / "output.log")
            assert os.waitpid(made, 0)[1] == 0, (folder / "output.log").read_text("utf-8")
            recipe = write_recipe(folder, folder / "model")
        overrides = fixed(recipe, given.set)
        trials = Trials(folder, recipe, overrides, random.Random(given.seed), given.deadline)
        trials.prepare()
        trials.at_instants(given.kills)
        if given.marks == "all":
            trials.at_marks()
    lost = [kind for kind, wrong in trials.outcomes if wrong]
    summary = {
        "runs": len(trials.outcomes),
        "lost": lost,
        "kills": trials.kills,
        "missed": trials.missed,
        "files": len(trials.expected),
        "seconds": round(time.perf_counter() - began, 1),
        "seed": given.seed,
    }
    print(json.dumps(summary))
    return int(bool(lost or trials.missed))


if __name__ == "__main__":
    sys.exit(main())

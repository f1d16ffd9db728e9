"""The folder of a run: who may write in it, what was asked, what happened.

    RUN/{recipe.toml, env.json, events.jsonl, logs/attempt_N/}  and one folder per stage, in each of which
    stand config.toml, cost.json (cost.py), lineage.json (lineage.py) and, when it is done, DONE

One process at a time writes (a lock that dies with its holder). A run folder belongs to one recipe:
another one is refused, or on request its changed stages are set aside and run again. Nothing is lost.
"""

import contextlib
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import aha
from aha import config as configuration
from aha import files
from aha.config import Recipe
from aha.errors import AhaError, RunError
from aha.stages import cost, dag
from aha.stages.dag import Node

RECIPE, ENVIRONMENT = "recipe.toml", "env.json"
BOOKS = ("config.toml", "cost.json", "data.json", "lineage.json", "resolved.json", dag.FINGERPRINT)
"""Files of a stage that is begun and has computed nothing yet."""
LOCK_SECONDS = 2.0
"""How long the lock of a run folder is waited for."""
WHERE_AND_HOW = ("run_dir", "threads", "memory_gb")
"""Fields that may change between attempts (stored resolutions win for threads and memory)."""


class RunFolder:
    """Open with `opened`."""

    def __init__(self, root: Path, recipe: Recipe, lock: IO[str]) -> None:
        self.root, self.recipe = root, recipe
        self._lock = lock
        logs = root / "logs"
        earlier = [int(p.name[8:]) for p in logs.glob("attempt_*") if p.name[8:].isdigit()]
        self.attempt = max(earlier, default=0) + 1
        self.log = logs / f"attempt_{self.attempt}"
        self.log.mkdir(parents=True)
        self._node: Node | None = None
        self._began = False
        self._meter: cost.Meter | None = None

    def event(self, kind: str, **facts: Any) -> None:
        """Append a line to events.jsonl."""
        line = {"time": round(time.time(), 3), "attempt": self.attempt, "event": kind, **facts}
        with (self.root / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(files.json_line(line) + "\n")
        if self._meter is not None and kind in ("start", "checkpoint"):
            self._meter.beat()

    @contextlib.contextmanager
    def metered(self, node: Node) -> Iterator[cost.Meter]:
        """Count what happens inside as the cost of a stage."""
        with cost.metered(self.root / node.name, self.attempt) as self._meter:
            try:
                yield self._meter
            finally:
                self._meter = None

    def begin(self, node: Node) -> Path:
        """The stage's folder, marked with its fingerprint, resolved configuration and lineage.

        Raises:
            RunError: the stage is gone on with, and its model or data are not what it was begun with.
        """
        from aha.stages import lineage

        self._node = node
        folder = self.root / node.name
        folder.mkdir(exist_ok=True)
        if not _computed(folder):  # it is new, or an attempt ended for what was wrong with its data
            (folder / lineage.LINEAGE).unlink(missing_ok=True)
        with contextlib.suppress(AhaError):  # the stage says itself what is not there
            lineage.of_stage(self.recipe, node, self.root)
        if dag.status(node, self.root) == "new":
            files.write_text(folder / "config.toml", configuration.dump_toml(node.config))
            files.write_json(folder / dag.FINGERPRINT, {"fingerprint": node.fingerprint})
        elif changed := lineage.changed(self.recipe, node, self.root):
            raise RunError(
                f"{node.name}: {'; '.join(changed)}. A stage learns from one set of data: put back what was "
                f"there, or run it again with what is there now: aha run RECIPE --from {node.name}"
            )
        if not self._began:  # not before: an attempt that fails leaves where the run was started in
            files.write_json(self.root / ENVIRONMENT, environment())
            self._began = True
        return folder

    def describe(self, model: Path, *, step: int | None = None) -> None:
        """Lineage and model card for the weights that the stage begun last has saved in `model`.

        Raises:
            AhaError: what the stage started from is no longer there.
        """
        from aha.models import card
        from aha.stages import lineage

        assert self._node is not None, "describe before begin"
        card.write(model, lineage.of_stage(self.recipe, self._node, self.root), step=step)

    def finish(self, node: Node, facts: dict[str, Any]) -> None:
        from aha.stages import lineage

        with contextlib.suppress(AhaError):  # it saved no model, and what it began from has gone
            lineage.of_stage(self.recipe, node, self.root)
        files.write_json(
            self.root / node.name / dag.DONE, {"fingerprint": node.fingerprint, **facts}
        )
        self.event("done", stage=node.name)


@contextlib.contextmanager
def opened(
    root: Path, recipe: Recipe, *, rerun: bool = False, again: Collection[str] = ()
) -> Iterator[RunFolder]:
    """Make or open the run folder of a recipe and hold its lock.

    Args:
        rerun: set the stages whose configuration changed aside, instead of refusing.
        again: stages whose results are set aside in any case.

    Raises:
        RunError: no permission; another process writes there; it belongs to another recipe.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("a+")
    except OSError as error:
        raise RunError(
            f"cannot write the run folder {root}: {error.strerror}; choose another one with "
            "--set run_dir=DIR"
        ) from error
    with lock:
        if not _locked(lock):
            lock.seek(0)
            raise RunError(
                f"{root} is in use by another aha (process {lock.read().strip() or '?'}); wait for it, "
                "stop it, or give this run another name with --set name=NAME"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        # first of all: it is what makes this a run folder
        if _check_recipe(root, recipe, rerun, again):
            files.write_text(root / RECIPE, configuration.to_toml(recipe))
        files.clean_below(root)
        folder = RunFolder(root, recipe, lock)
        if not (root / ENVIRONMENT).exists():
            files.write_json(root / ENVIRONMENT, environment())
        folder.event("attempt", command=sys.argv[1:], pid=os.getpid())
        yield folder


def _computed(folder: Path) -> bool:
    """Whether a stage has made something of its data, beside looking at them."""
    return any(
        path.is_file() and path.name not in BOOKS and path.stat().st_size
        for path in folder.rglob("*")
    )


def _locked(lock: IO[str]) -> bool:
    """Take the lock; a process that was killed just now may need a moment to let go of it."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)


def stored_recipe(root: Path) -> Recipe:
    """The recipe of an existing run.

    Raises:
        RunError: not a run folder.
    """
    if not (root / RECIPE).is_file():
        near = (
            sorted(p.parent.name for p in root.parent.glob(f"*/{RECIPE}"))
            if root.parent.is_dir()
            else []
        )
        hint = f"; runs in {root.parent}: {', '.join(near)}" if near else ""
        raise RunError(f"{root} is not a run folder: it has no {RECIPE}{hint}")
    return configuration.load(root / RECIPE)


def started_in(root: Path) -> Path:
    """The folder that the run was started in, which its relative paths refer to; else this one."""
    try:
        folder = Path(json.loads((root / ENVIRONMENT).read_text("utf-8"))["started_in"])
    except (OSError, ValueError, KeyError, TypeError):
        return Path.cwd()
    return folder if folder.is_dir() else Path.cwd()


def _check_recipe(root: Path, recipe: Recipe, rerun: bool, again: Collection[str] = ()) -> bool:
    """Refuse another recipe's folder, or set its stages aside; must the recipe be written?"""
    if not (root / RECIPE).exists():
        others = [p.name for p in root.iterdir() if p.name != ".lock" and files.TMP not in p.name]
        if others:
            raise RunError(
                f"{root} is not empty and not a run folder (it holds {', '.join(sorted(others)[:3])}); "
                "choose another name with --set name=NAME"
            )
        return True
    stored = stored_recipe(root)
    changed = differences(stored.model_dump(), recipe.model_dump())
    nodes = dag.graph(recipe)
    states = {node.name: dag.status(node, root) for node in nodes}
    other = [name for name, state in states.items() if state == "other" and name not in again]
    if other and not rerun:
        shown = ", ".join(changed[:5]) or "the version of aha"
        raise RunError(
            f"{root} was made by another recipe ({shown}). Choose with aha run: --set name=NAME for a new "
            f"run, or --rerun to set {', '.join(other)} aside and run it again"
        )
    for name, state in reversed(states.items()):  # descendants first: a kill leaves none behind
        if name in other or (name in again and state != "new"):
            _set_aside(root, name)
    return bool(changed or "other" in states.values())


def _set_aside(root: Path, name: str) -> None:
    """RUN/NAME -> RUN/NAME-FINGERPRINT, under a name that is free."""
    try:
        old = json.loads((root / name / dag.FINGERPRINT).read_text("utf-8"))["fingerprint"]
    except (ValueError, KeyError, TypeError, OSError):
        old = "damaged"
    target = root / f"{name}-{old}"
    number = 1
    while target.exists():
        number += 1
        target = root / f"{name}-{old}-{number}"
    os.rename(root / name, target)


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """`section.key: old -> new` for every value that differs and matters."""
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if not prefix and key in WHERE_AND_HOW:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return found


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    from importlib import metadata

    names = (
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "datasets",
        "math-verify",
        "numpy",
    )
    versions = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "aha": aha.__version__,
        "commit": commit(),
        "started_in": str(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": versions,
    }


def commit() -> str | None:
    """The commit of the source tree that runs, `+` behind it if files were changed since; None for
    an installed package."""
    here = Path(aha.__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        if not (here.parent / ".git").exists():  # a tree of somebody else's around site-packages
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def check_disk(root: Path, checkpoint_bytes: int) -> None:
    """Refuse to start without room for two checkpoints.

    Raises:
        RunError: says how much is missing.
    """
    import shutil

    free = shutil.disk_usage(root).free
    if free < 2 * checkpoint_bytes:
        raise RunError(
            f"{root} has {free / 1e9:.2f} GB free; two checkpoints need {2 * checkpoint_bytes / 1e9:.2f} "
            "GB. Free some space or choose another folder with --set run_dir=DIR"
        )

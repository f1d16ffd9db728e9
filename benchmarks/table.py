"""The targets and what was measured, from results/*.json.

    python -m benchmarks.table [--results FOLDER] [--json]

A ratio says how many times as fast aha is (medians of the same call). Targets are aims, chosen before
the measurement; a figure below one is shown as it is.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import gradients, measure

FASTER = {
    "rollout": {
        "vllm": {"short": 2.0, "equal": 2.0, "ragged": 2.0},
        "transformers.generate": {"short": 2.8, "equal": 2.8, "ragged": 6.0},
    },
    "grpo_step": {"trl/tuned": {"short": 2.2, "equal": 3.5, "ragged": 6.0}},
    "tiny": {"trl/tuned": {"tiny": 8.0}},
}
"""Aim: times as fast as this peer in this case; a peer without one is shown beside 1."""
MEMORY = 0.5
"""Aim: peak memory as a share of tuned TRL's."""
SHARE = {"update_share": 0.55}
"""Aim: share of the machine's matrix rate, see roofline.py."""


def target_of(file: str, peer: str, case: str) -> float:
    for name, cases in FASTER[file].items():
        if peer.startswith(name):
            return cases.get(case, 1.0)
    return 1.0


@dataclass(frozen=True, slots=True)
class Row:
    file: str
    claim: str
    measured: float
    target: float
    at_most: bool = False
    """The figure should not be above the target (else: not below)."""

    @property
    def reached(self) -> bool:
        good = self.measured <= self.target if self.at_most else self.measured >= self.target
        return good and math.isfinite(self.measured)


def rows(results: dict[str, dict[str, Any]]) -> Iterator[Row]:
    """Each claim that these results (by name) say something about."""
    if found := results.get("rollout"):
        for case, value in found["cases"].items():
            for peer, ratio in value["aha_over"].items():
                yield Row(
                    "rollout", f"rollout, {case}: x {peer}", ratio, target_of("rollout", peer, case)
                )
    for name in ("grpo_step", "tiny"):
        if not (found := results.get(name)):
            continue
        for loss, value in found.get("gradient", {}).items():
            error = value["error"]
            yield Row(name, f"gradient of {loss}: error", error, gradients.ERROR, at_most=True)
        for case, value in found["cases"].items():
            for duel in value["duels"]:
                for part, outcome in duel.items():
                    for peer, ratio in outcome["aha_over"].items():
                        target = target_of(name, peer, case) if part == "step" else 1.0
                        yield Row(name, f"{part}, {case}: x {peer}", ratio, target)
                    if part == "step" and (share := _memory(outcome["contestants"])):
                        claim = f"peak memory, {case}: of trl/tuned"
                        yield Row(name, claim, share, MEMORY, at_most=True)
    if found := results.get("roofline"):
        for point, value in found["points"].items():
            for key, aim in SHARE.items():
                claim = f"{key.replace('_', ' ')}, {point}"
                yield Row("roofline", claim, value[key]["median"], aim)
    if found := results.get("scaling"):
        for series, halves in found["verdicts"].items():
            for half, value in halves.items():
                claim = f"cost of a token by {series}, {half}: worst / first"
                yield Row("scaling", claim, value["worst_over_first"], value["limit"], at_most=True)
        for point, value in found["points"].items():
            if "peak_rss" in value:
                off = abs(value["predicted"]["total"] / value["peak_rss"] - 1)
                yield Row("scaling", f"plan of memory off by, {point}", off, 0.2, at_most=True)
            if "rollout_s" in value["predicted"]:
                said = value["predicted"]["rollout_s"] + value["predicted"]["update_s"]
                off = abs(said / value["seconds"] - 1)
                yield Row("scaling", f"plan of time off by, {point}", off, 0.3, at_most=True)


def _memory(figures: dict[str, Any]) -> float | None:
    """Peak memory of aha's fastest over that of tuned TRL."""
    if "trl/tuned" not in figures:
        return None
    mine = [figure for name, figure in figures.items() if name.startswith("aha")]
    if not mine:
        return None
    fastest = min(mine, key=lambda figure: figure["seconds"]["median"])
    return float(fastest["peak_rss"] / figures["trl/tuned"]["peak_rss"])


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Results of a folder by name, quick ones left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        if "name" in result and not result.get("quick"):
            known = found.get(result["name"], {})
            found[result["name"]] = _joined(known, result)
    return found


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """What a claim's two files say together; where both say something, the first counts."""
    out = {**second, **first}
    for key in first.keys() & second.keys():
        if isinstance(first[key], dict) and isinstance(second[key], dict):
            out[key] = _joined(first[key], second[key])
    return out


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=measure.RESULTS)
    parser.add_argument("--json", action="store_true", help="one JSON line instead of the table")
    given = parser.parse_args(argv)
    results = read(given.results)
    listed = list(rows(results))
    if given.json:
        print(json.dumps([asdict(row) | {"reached": row.reached} for row in listed]))
        return
    cells = [
        [
            row.claim,
            f"{row.measured:.3g}",
            f"{'<=' if row.at_most else '>='} {row.target:g}",
            "yes" if row.reached else "NO",
            row.file,
        ]
        for row in listed
    ]
    print(measure.table(["claim", "measured", "target", "reached", "file"], cells))
    for name in ("rollout", "grpo_step", "tiny", "roofline", "scaling"):
        if name not in results:
            print(f"not measured yet: python -m benchmarks.{name}")
        elif results[name].get("busy"):
            print(f"{name}: the machine was busy; measure it again")


if __name__ == "__main__":
    main()

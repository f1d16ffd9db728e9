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
    "transformers.generate": 2.0,
    "transformers.batching": 2.0,
    "vllm": 1.0,
    "vllm+logprobs": 1.0,
    "trl/tuned": 4.0,
    "trl/defaults": 4.0,
}
"""Aim: times as fast as this peer."""
SHARE = {"rollout_share": 0.4, "update_share": 0.5}
"""Aim: share of the machine's rates, see roofline.py."""


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
                yield Row("rollout", f"rollout, {case}: x {peer}", ratio, FASTER[peer])
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
                        yield Row(name, f"{part}, {case}: x {peer}", ratio, FASTER[peer])
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
                share = value["peak_rss"] / value["predicted"]["total"]
                yield Row("scaling", f"memory / plan, {point}", share, 1.0, at_most=True)


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Results of a folder by name, quick ones left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        if "name" in result and not result.get("quick"):
            found[result["name"]] = result
    return found


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

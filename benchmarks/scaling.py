"""Cost and memory of aha against group size, answer length, prompts per step and model size.

    python -m benchmarks.scaling [--series group length prompts model] [--quick]

Each point runs in a process of its own, for its peak memory: one warm-up, then the rounds. The cost of
a token should stay flat or fall along a series (of longer answers, attention's share grows); memory of
the rollout should follow the formula of keys and values; both are put beside what `aha plan` says.
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aha.errors import ModelError
from aha.models.locate import locate
from benchmarks import grpo_step, measure, work
from benchmarks.rollout import dtype_of, folder_of, tokenizer_of

SERIES = ("group", "length", "prompts", "model")
MODELS = ("aha:base", "smollm2-135m", "qwen2.5-coder-0.5b")
FLAT = 1.15
"""A series is flat if no token costs more than this times a token of its first point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    series: str
    model: str
    prompts: int
    answers: int
    tokens: int

    @property
    def name(self) -> str:
        varied = {"group": self.answers, "length": self.tokens, "prompts": self.prompts}
        return f"{self.series} {varied.get(self.series, self.model)}"


def points(series: str, model: str, *, quick: bool) -> list[Point]:
    """The points of a series, smallest first."""

    def point(**fields: Any) -> Point:
        base = {"model": model, "prompts": 4, "answers": 16, "tokens": 128}
        return Point(series=series, **{**base, **fields})

    if quick:
        return [point(prompts=2, answers=2, tokens=8), point(prompts=2, answers=4, tokens=8)]
    if series == "group":
        return [point(answers=n) for n in (4, 8, 16, 32, 64)]
    if series == "length":
        return [point(prompts=2, answers=8, tokens=n) for n in (64, 128, 256, 512, 1024, 2048)]
    if series == "prompts":
        return [point(prompts=n, answers=8) for n in (2, 4, 8, 16)]
    if series == "model":
        return [point(model=name, answers=8) for name in MODELS if _there(name)]
    raise SystemExit(f"no series {series!r}; there are {', '.join(SERIES)}")


def _there(model: str) -> bool:
    try:
        locate(model)
    except ModelError as error:
        print(f"left out: {error}", file=sys.stderr)
        return False
    return True


def measured(
    point: Point, dtype: str, *, threads: int, rounds: int, minutes: float, seed: int
) -> dict[str, Any]:
    """Time and memory of one point, in a process of its own: `rounds`, fewer where they take `minutes`.

    It runs under the budgets of its plan, as `aha run` would.
    """
    folder = folder_of(point.model)
    tokenizer = tokenizer_of(folder)
    asked = work.make(
        "equal",
        tokenizer,
        prompts=point.prompts,
        answers=point.answers,
        tokens=point.tokens,
        seed=seed,
    )
    longest = max(map(len, asked.prompts))
    said = grpo_step.planned(folder, asked, dtype, threads=threads)
    if "does_not_fit" in said:
        return {"predicted": said}
    rolled, updated = [], []
    with grpo_step.ours_unloaded(dtype, threads) as worker:
        facts = worker.ask(
            "load",
            model=folder,
            dtype=dtype,
            train=True,
            **{name: said[name] for name in grpo_step.BUDGETS},
        )
        small = asked.as_dict() | {"lengths": [[2] * len(g) for g in asked.lengths]}
        worker.ask("rollout", work=small, round=0)  # what the first call loads is no key or value
        highest = 0
        for number in range(rounds + 1):
            rollout = worker.ask("rollout", work=asked.as_dict(), round=number, keep=True)
            recorded = {key: rollout.pop(key) for key in ("token_ids", "logprobs")}
            update = worker.ask("update", work=asked.as_dict(), **recorded)
            highest = max(highest, rollout["peak_rss"], update["peak_rss"])
            if not number:
                first = rollout["grown"]
                continue
            rolled.append(rollout["seconds"])
            updated.append(update["seconds"])
            if sum(rolled) + sum(updated) > 60 * minutes:
                break
    cache = point.prompts * longest + point.prompts * point.answers * point.tokens
    tokens = asked.answer_tokens
    return {
        "predicted": said,
        "rollout_us_per_token": measure.spread(1e6 * s / tokens for s in rolled),
        "update_us_per_token": measure.spread(1e6 * s / tokens for s in updated),
        "seconds": statistics.median(rolled) + statistics.median(updated),
        "peak_rss": highest,
        "rollout_grown": first,
        "kv_formula": cache * facts["kv_token_bytes"],
        "parameters": facts["parameters"],
        "work": asked.facts(),
    }


def verdict(costs: Sequence[float]) -> dict[str, Any]:
    """Does the cost of a token stay flat or fall along a series?"""
    worst = max(costs) / costs[0]
    facts = {"last_over_first": costs[-1] / costs[0], "worst_over_first": worst}
    return {**facts, "limit": FLAT, "flat": worst <= FLAT}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "", minutes=0.5, least=1)
    parser.add_argument("--series", nargs="*", default=list(SERIES))
    parser.add_argument("--dtype", default="", help="auto: as `aha run` would choose")
    given = parser.parse_args(argv)
    busy = measure.busy()
    result: dict[str, Any] = {"claim": "cost of a token and memory, by size", "points": {}}
    result |= {"busy_before": busy, "busy": busy["busy"], "verdicts": {}}
    for series in given.series:
        costs: dict[str, list[float]] = {"rollout": [], "update": []}
        for point in points(series, given.model, quick=given.quick):
            folder = folder_of(point.model)
            dtype = given.dtype or dtype_of(folder)
            print(f"{point.name} {dtype}", file=sys.stderr)
            rounds = 1 if given.quick else given.rounds
            limits = {"rounds": rounds, "minutes": given.minutes}
            found = measured(point, dtype, threads=given.threads, seed=given.seed, **limits)
            found["dtype"] = dtype
            result["points"][point.name] = found
            for half, kept in costs.items():
                if f"{half}_us_per_token" in found:
                    kept.append(found[f"{half}_us_per_token"]["median"])
        if series != "model":
            result["verdicts"][series] = {k: verdict(v) for k, v in costs.items() if v}
    print(shown(result))
    measure.write("scaling", given, result)
    return result


def shown(result: dict[str, Any]) -> str:
    rows = []
    for name, found in result["points"].items():
        if "peak_rss" not in found:
            rows.append([name, "does not fit", "", "", "", "", ""])
            continue
        rows.append(
            [
                name,
                measure.shown(found["rollout_us_per_token"], 1),
                measure.shown(found["update_us_per_token"], 1),
                f"{found['peak_rss'] / 1e9:.2f}",
                f"{found['predicted']['total'] / 1e9:.2f}",
                f"{found['rollout_grown'] / 1e9:.3f}",
                f"{found['kv_formula'] / 1e9:.3f}",
            ]
        )
    head = ["scaling", "rollout us/token", "update us/token", "RSS GB", "plan GB", "rollout GB"]
    text = measure.table([*head, "keys+values GB"], rows)
    for series, found in result["verdicts"].items():
        for half, v in found.items():
            said = "flat or falls" if v["flat"] else "RISES"
            text += f"\n{series}, {half}: {said} (last / first {v['last_over_first']:.2f})"
    return text


if __name__ == "__main__":
    main()

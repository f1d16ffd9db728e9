"""Which share of this machine aha uses: decoding and update against rates measured in the same call.

    python -m benchmarks.roofline [--quick]

Rates: torch.mm at several shapes (best), large copies, triads and sums in memory (best).
Update:  6 x body x stream tokens (a shared prompt counts once) + 6 x head x answer tokens + attention
         (12 x layers x width x pairs of query and key), over time x matrix rate. What is computed
         twice, as the head in the backward pass is, counts once.
Decode:  the time that weights, keys and values need to be read once a step, or the products need,
         whichever is longer, over the time taken. A shared prompt is read once for its group.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import grpo_step, measure, work
from benchmarks.rollout import dtype_of, folder_of, tokenizer_of


def pairs(prompt: int, answers: Sequence[int]) -> int:
    """Pairs of query and key that attention must look at, prompt once, each answer after it."""
    return prompt * (prompt + 1) // 2 + sum(n * prompt + n * (n + 1) // 2 for n in answers)


def update_flops(shapes: Mapping[str, float], asked: work.Work) -> float:
    """Floating-point operations of forward and backward of one step, nothing counted twice."""
    tokens = asked.answer_tokens + sum(map(len, asked.prompts))
    looked = sum(pairs(len(p), g) for p, g in zip(asked.prompts, asked.lengths, strict=True))
    attention = 12 * shapes["layers"] * shapes["attention_width"] * looked
    products = 6 * shapes["body"] * tokens + 6 * shapes["head"] * asked.answer_tokens
    return float(products + attention)


def rollout_seconds(
    shapes: Mapping[str, float],
    asked: work.Work,
    *,
    steps: int,
    kv_token_bytes: int,
    flops: float,
    bandwidth: float,
) -> float:
    """Seconds that a rollout needs at least, at `flops` (FLOP/s) and `bandwidth` (bytes/s).

    Args:
        steps: decoding steps that the engine took; the weights are read once in each.
    """
    prompts = sum(map(len, asked.prompts))
    causal = sum(len(p) * (len(p) + 1) // 2 for p in asked.prompts)
    width = 4 * shapes["layers"] * shapes["attention_width"]
    prefill = (2 * shapes["body"] * prompts + width * causal) / flops
    looked = kept = 0
    for p, group in zip(asked.prompts, asked.lengths, strict=True):
        own = sum(n * (n + 1) // 2 for n in group)
        looked += own + len(p) * sum(group)
        kept += own + len(p) * max(group)  # the prompt is read once a step for all its answers
    products = 2 * (shapes["body"] + shapes["head"]) * asked.answer_tokens + width * looked
    read = shapes["weight_bytes"] * steps + kv_token_bytes * kept
    return float(prefill + max(products / flops, read / bandwidth))


def point(given: argparse.Namespace, folder: str, dtype: str, asked: work.Work) -> dict[str, Any]:
    """Rates before and after, rollouts and updates in turns, and the shares."""
    fields = asked.as_dict()
    room = grpo_step.room_beside(0, 0)
    with grpo_step.ours(dtype, folder, asked, given.threads, room) as worker:
        shapes = worker.ask("shapes")
        rates = [worker.ask("roofline", quick=given.quick)]
        rollouts, updates = [], []
        for number in range((1 if given.quick else given.rounds) + 1):
            rolled = worker.ask("rollout", work=fields, round=number, keep=True)
            recorded = {key: rolled[key] for key in ("token_ids", "logprobs")}
            updated = worker.ask("update", work=fields, **recorded)
            if number:
                rollouts.append(rolled["seconds"])
                updates.append(updated["seconds"])
        rates.append(worker.ask("roofline", quick=given.quick))
        kv_token_bytes = worker.facts["kv_token_bytes"]
    flops = max(rate[dtype]["flops"] for rate in rates)
    bandwidth = max(rate["memory"]["bytes"] for rate in rates)
    need = rollout_seconds(
        shapes,
        asked,
        steps=rolled["steps"],
        kv_token_bytes=kv_token_bytes,
        flops=flops,
        bandwidth=bandwidth,
    )
    operations = update_flops(shapes, asked)
    return {
        "flops": flops,
        "bandwidth": bandwidth,
        "rates": rates,
        "rollout_s": measure.spread(rollouts),
        "update_s": measure.spread(updates),
        "rollout_share": measure.rate(need, rollouts),
        "update_share": measure.rate(operations / flops, updates),
        "rollout_least_s": need,
        "update_flops": operations,
        "shapes": shapes,
        "work": asked.facts(),
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "")
    parser.add_argument("--cases", nargs="*", default=["equal", "ragged"])
    parser.add_argument("--dtypes", nargs="*", help="default: as `aha run` would choose")
    given = parser.parse_args(argv)
    busy = measure.busy()
    folder = folder_of(given.model)
    sizes: dict[str, Any] = {"prompts": 2, "answers": 4, "tokens": 16} if given.quick else {}
    works = [
        work.make(case, tokenizer_of(folder), seed=given.seed, **sizes) for case in given.cases
    ]
    result: dict[str, Any] = {"claim": "share of the machine's rates", "model": given.model}
    result |= {"busy_before": busy, "busy": busy["busy"], "points": {}}
    for dtype in given.dtypes or [dtype_of(folder)]:
        for asked in works:
            print(f"{dtype} {asked.case}", file=sys.stderr)
            result["points"][f"{dtype} {asked.case}"] = point(given, folder, dtype, asked)
    print(shown(result))
    measure.write("roofline", given, result)
    return result


def shown(result: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{point['flops'] / 1e9:.0f}",
            f"{point['bandwidth'] / 1e9:.1f}",
            measure.shown(point["rollout_share"], 2),
            measure.shown(point["update_share"], 2),
        ]
        for name, point in result["points"].items()
    ]
    return measure.table(["roofline", "GFLOP/s", "GB/s", "rollout share", "update share"], rows)


if __name__ == "__main__":
    main()

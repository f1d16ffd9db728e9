"""Is it the same step? TRL's loss code and ours, on one recorded batch in float32.

Compared before anything is timed: the gradient of every parameter, for TRL's `dapo` (all tokens weigh
the same) and `grpo` (all answers do), at ratios off 1 so that clipping takes part. Bounds: cosine >=
0.99999, relative error of the norm of the difference <= 1e-4.
"""

import math
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.workers import Worker

COSINE, ERROR = 0.99999, 1e-4
NOISE = 0.15
"""Of the recorded log-probabilities, nats: about a fifth of the ratios leave 0.8..1.2."""


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Cosine, |a - b| / |b| and the largest such error of one parameter, over gradients by name.

    Raises:
        ValueError: they are not gradients of the same parameters.
    """
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())[:4]
        raise ValueError(f"parameters of one side only: {', '.join(odd)}")
    dot = mine = other = difference = worst = 0.0
    for name, b in theirs.items():
        a, b = ours[name].double(), b.double()
        if a.shape != b.shape:
            raise ValueError(f"{name}: {tuple(a.shape)} and {tuple(b.shape)}")
        square, apart = float((b * b).sum()), float(((a - b) ** 2).sum())
        dot += float((a * b).sum())
        mine += float((a * a).sum())
        other += square
        difference += apart
        worst = max(worst, math.sqrt(apart / square) if square else math.sqrt(apart))
    return {
        "cosine": dot / math.sqrt(mine * other) if mine * other else 0.0,
        "error": math.sqrt(difference / other) if other else math.inf,
        "worst_error": worst,
        "norm": math.sqrt(other),
    }


def check(ours: Worker, theirs: Worker, asked: work.Work, *, seed: int) -> dict[str, Any]:
    """Compare both workers, loaded in float32, on answers that `ours` records.

    Raises:
        SystemExit: the gradients differ: then a comparison of times means nothing.
    """
    from safetensors.torch import load_file

    rng = random.Random(seed)
    recorded = ours.ask("rollout", work=asked.as_dict(), round=0, keep=True)
    batch = {
        "work": asked.as_dict(),
        "token_ids": recorded["token_ids"],
        "old": [[lp + rng.gauss(0, NOISE) for lp in row] for row in recorded["logprobs"]],
        "advantages": [rng.gauss(0, 1) for _ in range(asked.answers)],
    }
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for loss in ("dapo", "grpo"):
            paths = [str(Path(folder) / f"{loss}_{who}.safetensors") for who in ("ours", "theirs")]
            one = ours.ask("gradient", **batch, loss=loss, path=paths[0])
            other = theirs.ask("gradient", **batch, loss=loss, path=paths[1])
            found[loss] = compare(load_file(paths[0]), load_file(paths[1]))
            found[loss] |= {"loss": one["loss"], "loss_of_peer": other["loss"]}
            said = f"gradient, {loss}: cosine {found[loss]['cosine']:.8f}, "
            said += f"relative error {found[loss]['error']:.1e}"
            print(said)
            if not (found[loss]["cosine"] >= COSINE and found[loss]["error"] <= ERROR):
                raise SystemExit(f"{said}: not the same step; nothing was timed")
    return found

"""Reward models: the packed path beside transformers' own forward on padded rows, in one process.

    python -m benchmarks.reward_model [--quick] [--model smollm2-135m] [--contestants packed]

Cases: `train`, a step over pairs with the lengths of HH-RLHF (a question of some 150 tokens, answers of
some 60, log-normal); `score`, groups of answers to one question as RL asks for them. Tokens of both sides
are those of the rows as they stand, so what the packed side shares counts as work that was done. Rounds
alternate; the scores of both sides must agree (float32: 1e-4, bfloat16: 0.1 of the largest) or nothing is
timed.
"""

import random
import time
from collections.abc import Callable
from typing import Any

import torch

from aha.config import OptimConfig
from aha.models.load import describe, resolve_dtype
from aha.models.locate import locate
from aha.models.reward_model import RewardModel
from aha.train.optim import Optimizer
from aha.train.preference import PairExample, ScoreTrainer
from benchmarks import measure
from benchmarks.work import ragged
from benchmarks.workers import in_turns

CLAIM = "reward models train and score on the packed path of all other training"
BUDGET = 4096
"""Tokens of a micro-batch."""
QUESTION, ANSWER = 150, 60
"""Tokens, in the mean; CAP at most."""
CAP = 600


class Padded(RewardModel):
    """The same model by its own forward, as it comes from transformers."""

    def _packs(self) -> bool:
        return False


def rows_of(groups: int, answers: int, vocabulary: int, seed: int) -> list[list[list[int]]]:
    """Groups of rows: a question, and answers to it."""
    rng = random.Random(seed)
    questions = ragged(groups, seed, mean=QUESTION, cap=CAP)
    lengths = ragged(groups * answers, seed + 1, mean=ANSWER, cap=CAP)

    def drawn(count: int) -> list[int]:
        return [rng.randrange(10, vocabulary) for _ in range(count)]

    found = []
    for group, size in enumerate(questions):
        question = drawn(size)
        own = lengths[group * answers : (group + 1) * answers]
        found.append([question + drawn(length) for length in own])
    return found


def compare(
    folder: Any,
    *,
    dtype: str,
    rounds: int,
    seed: int,
    pairs: int,
    groups: int,
    wanted: list[str] | None = None,
) -> dict[str, Any]:
    """Tokens per second of both sides in both cases, and the ratio of the medians.

    Raises:
        SystemExit: the scores differ, or a contestant is not known.
    """
    models = {
        "packed": RewardModel.from_base(folder, device="cpu", dtype=dtype, seed=seed),
        "padded": Padded.from_base(folder, device="cpu", dtype=dtype, seed=seed),
    }
    names = measure.chosen(list(models), wanted)
    vocabulary = models["packed"].model.config.get_text_config().vocab_size
    asked = rows_of(groups, 16, vocabulary, seed)
    apart = _apart(models, asked[0], dtype)
    examples = [
        PairExample(
            id=str(i),
            chosen_ids=tuple(a),
            rejected_ids=tuple(b),
            chosen_tokens=len(a),
            rejected_tokens=len(b),
        )
        for i, (a, b) in enumerate(rows_of(pairs, 2, vocabulary, seed + 9))
    ]
    trained = sum(len(row) for one in examples for row in one.rows)
    scored = sum(len(row) for group in asked for row in group)
    result: dict[str, Any] = {"scores_apart": apart, "dtype": dtype, "cases": {}}
    for case, tokens in (("train", trained), ("score", scored)):
        made = {
            name: _step(models[name], examples)
            if case == "train"
            else _scoring(models[name], asked)
            for name in names
        }
        seconds = in_turns(rounds, made)
        found = {name: measure.rate(tokens, taken) for name, taken in seconds.items()}
        result["cases"][case] = {"tokens": tokens, "tokens_per_s": found}
        if len(names) == 2:
            ratio = found["packed"]["median"] / found["padded"]["median"]
            result["cases"][case]["ratio"] = ratio
    return result


@torch.no_grad()
def _apart(models: dict[str, RewardModel], rows: list[list[int]], dtype: str) -> float:
    """Largest difference of the scores as a share of the largest score."""
    a, b = (model.values(rows) for model in models.values())
    apart = float((a - b).abs().max() / b.abs().max())
    if not apart <= (1e-4 if dtype == "float32" else 0.1):
        raise SystemExit(f"the scores of both sides differ by {apart:.1e}; nothing was timed")
    return apart


def _step(model: RewardModel, examples: list[PairExample]) -> Callable[[int], float]:
    trainer = ScoreTrainer(
        model, Optimizer(model.model, OptimConfig(lr=1e-6), 10**6), budget=BUDGET
    )

    def once(number: int) -> float:
        began = time.perf_counter()
        trainer.step(examples, number)
        return time.perf_counter() - began

    return once


@torch.no_grad()
def _values(model: RewardModel, groups: list[list[list[int]]]) -> None:
    for group in groups:
        model.values(group).tolist()


def _scoring(model: RewardModel, groups: list[list[list[int]]]) -> Callable[[int], float]:
    def once(_: int) -> float:
        began = time.perf_counter()
        _values(model, groups)
        return time.perf_counter() - began

    return once


def main(argv: list[str] | None = None) -> dict[str, Any]:
    given = measure.parser(__doc__ or "", model="aha:base").parse_args(argv)
    busy = measure.busy()
    torch.set_num_threads(given.threads)
    folder = locate(given.model)
    sizes = {"pairs": 2, "groups": 1} if given.quick else {"pairs": 32, "groups": 8}
    result = {"claim": CLAIM, "model": given.model, "busy_before": busy, "busy": busy["busy"]}
    result |= compare(
        folder,
        dtype=resolve_dtype("auto", describe(folder), "cpu"),
        rounds=1 if given.quick else given.rounds,
        seed=given.seed,
        wanted=given.contestants,
        **sizes,
    )
    print(shown(result))
    measure.write("reward_model", given, result)
    return result


def shown(result: dict[str, Any]) -> str:
    rows = [
        [f"{case} {name}", measure.shown(figure)]
        for case, found in result["cases"].items()
        for name, figure in found["tokens_per_s"].items()
    ]
    rows += [
        [f"{case} ratio", f"{found['ratio']:.2f}"]
        for case, found in result["cases"].items()
        if "ratio" in found
    ]
    return measure.table(["reward model", "tokens/s"], rows)


if __name__ == "__main__":
    main()

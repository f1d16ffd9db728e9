"""The base model in the package: steps per minute and answers per second beside TRL tuned.

    python -m benchmarks.tiny [--quick] [--contestants aha]

aha:base (DeepSeek-V3 architecture), the problems of recipes/zero_laptop.toml, 16 x 16 answers with
log-normal lengths as its first steps have them. Otherwise as grpo_step.py; TRL's batches are 16, 64
and 256.
"""

from typing import Any

from benchmarks import grpo_step, measure, work
from benchmarks.rollout import folder_of, tokenizer_of

BATCHES = (16, 64, 256)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "", minutes=10, model="aha:base")
    grpo_step.options(parser, cases=("tiny",), update=("tiny",), flat=("tiny",))
    given = parser.parse_args(argv)
    busy = measure.busy()
    folder = folder_of(given.model)
    sizes = {"prompts": 2, "answers": 4} if given.quick else {"prompts": 16, "answers": 16}
    works = [
        work.make(case, tokenizer_of(folder), seed=given.seed, data=given.data, **sizes)
        for case in given.cases
    ]
    result: dict[str, Any] = {"claim": "steps per minute on the base model of the package"}
    result |= {"busy_before": busy, "busy": busy["busy"]}
    result |= grpo_step.contest(given, folder, works, (4,) if given.quick else BATCHES)
    for figure in _figures(result).values():
        figure["steps_per_min"] = measure.rate(60, figure["seconds"]["rounds"])
    print(shown(result))
    measure.write("tiny", given, result)
    return result


def _figures(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures of whole steps, by case, duel and contestant."""
    return {
        f"{case} {number} {name}": figure
        for case, found in result["cases"].items()
        for number, duel in enumerate(found["duels"], 1)
        for name, figure in duel["step"]["contestants"].items()
    }


def shown(result: dict[str, Any]) -> str:
    rows = [
        [name, *(measure.shown(figure[key], 1) for key in ("steps_per_min", "answers_per_s"))]
        for name, figure in _figures(result).items()
    ]
    text = measure.table(["tiny", "steps/min", "answers/s"], rows)
    return f"{text}\n\n{grpo_step.shown(result)}"


if __name__ == "__main__":
    main()

"""Rollout: real answer tokens per second of everyone who can sample on this machine.

    python -m benchmarks.rollout [--cases short equal ragged] [--quick] [--contestants aha vllm]

8 prompts x 8 answers, forced lengths (work.py). One round of the first case for everyone; then the fastest
dtype of each family goes on. Timed: everything from tokenised prompts to answers.
A temperature of 1 and the sampled token's log-probability is what RL needs: aha and continuous
batching always give it, `generate` does not (it throws it away), vLLM runs without and with it.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import environments, measure, work
from benchmarks.contestants import vllm_cpu
from benchmarks.workers import Worker, in_turns

NAMES = {
    "aha/bfloat16": ("ours", "bfloat16", "rollout", {}),
    "aha/float32": ("ours", "float32", "rollout", {}),
    "transformers.generate/bfloat16": ("hf", "bfloat16", "generate", {}),
    "transformers.generate/float32": ("hf", "float32", "generate", {}),
    "transformers.batching/bfloat16": ("hf", "bfloat16", "batching", {}),
    "transformers.batching/float32": ("hf", "float32", "batching", {}),
    "vllm/bfloat16": ("vllm", "bfloat16", "generate", {"logprobs": False}),
    "vllm/bfloat16+logprobs": ("vllm", "bfloat16", "generate", {"logprobs": True}),
    "vllm/float32": ("vllm", "float32", "generate", {"logprobs": False}),
}
"""Contestant -> its kind of process, dtype, request, and fields of the request."""


def folder_of(model: str) -> str:
    """The model's folder, or an end that says how to get one."""
    from aha.errors import ModelError
    from aha.models.locate import locate

    try:
        return str(locate(model))
    except ModelError as error:
        raise SystemExit(f"{error}\n(the benchmarks take it from: aha model get {model})") from None


def dtype_of(folder: str) -> str:
    """The dtype that `aha run` would choose here."""
    from aha.models.load import describe, resolve_dtype

    return resolve_dtype("auto", describe(Path(folder)))


def tokenizer_of(folder: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def start(kind: str, dtype: str, folder: str, *, threads: int, seqs: int, longest: int) -> Worker:
    """A contestant's process with its model loaded.

    Raises:
        SystemExit: its environment is not there.
    """
    name = f"{kind}/{dtype}"
    if kind == "vllm":
        need("vllm")
        worker = Worker(
            name,
            environments.python("vllm"),
            "benchmarks.contestants.vllm_cpu",
            threads=threads,
            environment=vllm_cpu.settings(threads),
        )
        fields: dict[str, Any] = {"max_model_len": longest, "max_num_seqs": seqs}
    else:
        worker = Worker(name, sys.executable, f"benchmarks.contestants.{kind}", threads=threads)
        fields = {}
    worker.ask("load", model=folder, dtype=dtype, **fields)
    return worker


def need(name: str) -> None:
    if not environments.ready(name):
        raise SystemExit(
            f"the environment of {name} is not there: python -m benchmarks.environments {name} "
            "(or leave it out with --contestants)"
        )


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "", minutes=10)
    parser.add_argument("--cases", nargs="*", default=["short", "equal", "ragged"])
    parser.add_argument("--data", default="", help="a source of problems, e.g. a GSM8K folder")
    given = parser.parse_args(argv)
    names = measure.chosen(list(NAMES), given.contestants)
    busy = measure.busy()
    folder = folder_of(given.model)
    sizes: dict[str, Any] = {"prompts": 2, "answers": 4, "tokens": 16} if given.quick else {}
    works = [
        work.make(case, tokenizer_of(folder), seed=given.seed, data=given.data, **sizes)
        for case in given.cases
    ]
    longest = max(max(map(len, w.prompts)) + w.longest for w in works)
    seqs = max(w.answers for w in works)
    result: dict[str, Any] = {"claim": "real answer tokens per second", "model": given.model}
    result |= {"cases": {}, "loaded": {}}
    with ExitStack() as stack:
        running: dict[tuple[str, str], Worker] = {}
        for name in names:
            key = NAMES[name][:2]
            if key not in running:
                running[key] = stack.enter_context(
                    start(*key, folder, threads=given.threads, seqs=seqs, longest=longest)
                )

        result["loaded"] = {f"{kind}/{dtype}": w.facts for (kind, dtype), w in running.items()}
        calls = {name: _call(running[NAMES[name][:2]], name, works[0]) for name in names}
        print(f"{works[0].case}, one round of everyone", file=sys.stderr)
        all_of_them = {name: answers[0]["seconds"] for name, answers in in_turns(1, calls).items()}
        result["qualifying"] = {"case": works[0].case, "seconds": all_of_them}
        names = fastest(all_of_them)
        for key in set(running) - {NAMES[name][:2] for name in names}:
            running.pop(key).close()
        for asked in works:
            calls = {name: _call(running[NAMES[name][:2]], name, asked) for name in names}
            print(f"{asked.case}: {asked.answer_tokens} answer tokens", file=sys.stderr)
            rounds = in_turns(1 if given.quick else given.rounds, calls, minutes=given.minutes)
            result["cases"][asked.case] = {"work": asked.facts(), **summed(rounds)}
    result |= {"busy_before": busy, "busy": busy["busy"]}
    print(shown(result))
    measure.write("rollout", given, result)
    return result


def _call(worker: Worker, name: str, asked: work.Work) -> Callable[[int], dict[str, Any]]:
    _, _, what, fields = NAMES[name]

    def call(number: int) -> dict[str, Any]:
        now = asked if number else work.warm(asked)
        return worker.ask(what, work=now.as_dict(), round=number, **fields)

    return call


def family(name: str) -> str:
    """Who it is, whatever its dtype."""
    return name.partition("/")[0] + ("+logprobs" if name.endswith("+logprobs") else "")


def fastest(seconds: Mapping[str, float]) -> list[str]:
    """The fastest contestant of each family, in their order."""
    best: dict[str, str] = {}
    for name, taken in seconds.items():
        if taken < seconds[best.setdefault(family(name), name)]:
            best[family(name)] = name
    return [name for name in seconds if name in best.values()]


def summed(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Figures of each contestant, and aha's best median over each peer's best."""
    figures = {}
    for name, answers in rounds.items():
        seconds = [answer["seconds"] for answer in answers]
        figures[name] = {
            "seconds": measure.spread(seconds),
            "tokens_per_s": measure.rate(answers[0]["tokens"], seconds),
            "peak_rss": max(answer["peak_rss"] for answer in answers),
        }
    best: dict[str, float] = {}
    for name, figure in figures.items():
        who = family(name)
        best[who] = max(best.get(who, 0.0), figure["tokens_per_s"]["median"])
    ours = best.get("aha")
    ratios = {who: ours / value for who, value in best.items() if ours and who != "aha"}
    return {"contestants": figures, "aha_over": ratios}


def shown(result: dict[str, Any]) -> str:
    rows = []
    for case, found in result["cases"].items():
        for name, figure in found["contestants"].items():
            memory = f"{figure['peak_rss'] / 1e9:.2f}"
            rows.append([f"{case}  {name}", measure.shown(figure["tokens_per_s"]), memory])
    return measure.table(["rollout", "answer tokens/s", "peak RSS, GB"], rows)


if __name__ == "__main__":
    main()

"""A whole GRPO step (sample, grade, update, optimizer) beside TRL's GRPOTrainer on the same model.

    python -m benchmarks.grpo_step [--cases short equal ragged] [--quick] [--trl autocast:16]

8 prompts x 8 answers of forced lengths; DAPO's form, no KL term, one step per phase, AdamW; both sides
reward a number made from the token ids (every group informative) and grade every answer too, with
weight 0. First the gradients are compared (gradients.py). TRL runs with its defaults (batches of 8,
accumulated) and tuned: without checkpointing, in the best of float32, bfloat16 autocast and bfloat16
weights x batches of 4, 8, 16, 32, 64, found by one step of each that fits. Then the update half alone, on
recorded answers, and, where named by --flat, steps in which half of the groups are flat. Rounds
alternate between those who are in memory together (PEERS); each may use what the idle others leave.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import environments, gradients, measure, work
from benchmarks.rollout import folder_of, need, tokenizer_of
from benchmarks.workers import Worker, WorkerError, in_turns

PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {"bf16": False, "model_init_kwargs": {"dtype": "float32"}},
    "autocast": {"bf16": True, "model_init_kwargs": {"dtype": "float32"}},
    "bfloat16": {"bf16": False, "model_init_kwargs": {"dtype": "bfloat16"}},
}
TUNED = {"gradient_checkpointing": False, "log_completions": False, "disable_dropout": True}
DEFAULTS: dict[str, Any] = {"per_device_train_batch_size": 8}
BATCHES = (4, 8, 16, 32, 64)
OURS = ("aha/bfloat16", "aha/float32")
PEERS = ("trl/tuned", "trl/defaults")
"""A duel each, so that the peer has memory: the first against all of OURS, the second against the
fastest of them. Rounds alternate within a duel."""
BUDGETS = ("micro_tokens", "kv_bytes", "max_rows", "kept_logits")
HEADROOM = 0.85
"""Share of its memory that TRL may take, as in aha's own plan."""


def room_beside(others: int, parameters: int) -> int:
    """Bytes that are free now, less `others` idle trainers: weights, masters, moments, program."""
    from aha.train.plan import PROGRAM_BYTES, available_memory

    return available_memory() - others * (18 * parameters + PROGRAM_BYTES)


def ours_unloaded(dtype: str, threads: int) -> Worker:
    name, module = f"aha_step/{dtype}", "benchmarks.contestants.ours"
    return Worker(name, sys.executable, module, threads=threads)


def ours(dtype: str, folder: str, asked: work.Work, threads: int, room: int) -> Worker:
    """aha's trainer and engine, under the budgets that its plan makes of `room` bytes of memory."""
    said = planned(folder, asked, dtype, room)
    if "does_not_fit" in said:
        raise SystemExit(said["does_not_fit"])
    worker = ours_unloaded(dtype, threads)
    budgets = {name: said[name] for name in BUDGETS}
    worker.ask("load", model=folder, dtype=dtype, train=True, **budgets)
    worker.facts |= {"budgets": budgets}
    return worker


def planned(
    folder: str, asked: work.Work, dtype: str, room: int = 0, *, threads: int = 0
) -> dict[str, Any]:
    """What `aha plan` says of this work: bytes by part, budgets, and with `threads` also seconds."""
    from aha import config
    from aha.errors import DoesNotFit
    from aha.train import plan

    recipe = config.resolve(
        {
            "threads": threads,
            "memory_gb": max(room / 1e9, 0.001) if room else 0.0,  # 0: what is free
            "model": {"path": folder, "dtype": dtype},
            "data": {"max_prompt_tokens": max(map(len, asked.prompts))},
            "zero": {
                "prompts_per_step": len(asked.prompts),
                "group_size": len(asked.lengths[0]),
                "max_answer_tokens": asked.longest,
                "kl_coef": 0.0,
            },
        }
    )
    assert recipe.zero is not None
    try:
        made = plan.make(recipe, recipe.zero, Path(folder), timed=bool(threads))
    except DoesNotFit as error:
        return {"does_not_fit": str(error)}
    found: dict[str, Any] = {"parts": made.parts, "total": made.total}
    found |= {name: getattr(made.resolved, name) for name in BUDGETS}
    seconds = {"rollout_s": made.rollout_s, "update_s": made.update_s}
    return found | (seconds if made.step_s is not None else {})


def trl(
    name: str,
    folder: str,
    asked: work.Work,
    settings: Mapping[str, Any],
    threads: int,
    limit: int | None = None,
) -> Worker:
    """TRL's trainer, at the beginning of its loop."""
    need("trl")
    worker = Worker(
        name,
        environments.python("trl"),
        "benchmarks.contestants.trl_grpo",
        threads=threads,
        limit=limit,
    )
    try:
        worker.ask("load", model=folder, work=asked.as_dict(), settings=dict(settings))
    except WorkerError:
        worker.close()
        raise
    return worker


def tuned(precision: str, batch: int) -> dict[str, Any]:
    return {**TUNED, **PRECISIONS[precision], "per_device_train_batch_size": batch}


def search(
    folder: str, asked: work.Work, threads: int, batches: Sequence[int], room: int
) -> tuple[str, int, list[dict[str, Any]]]:
    """TRL's fastest precision and batch for this work, and what each of them took.

    Each is started alone, warmed up with short answers, and takes one step. One that needs more
    memory than `room` is noted, and larger batches in its precision are left out.
    """
    rows: list[dict[str, Any]] = []
    warm = work.of_dict(asked.as_dict() | {"lengths": [[8] * len(g) for g in asked.lengths]})
    limit = int(HEADROOM * room)
    for precision in PRECISIONS:
        for batch in [b for b in batches if asked.answers % b == 0]:
            row: dict[str, Any] = {"precision": precision, "batch": batch}
            try:
                with trl("trl_search", folder, asked, tuned(precision, batch), threads, limit) as w:
                    w.ask("step", work=warm.as_dict(), round=0)
                    answer = w.ask("step", work=asked.as_dict(), round=1)
                row |= {"seconds": answer["seconds"], "peak_rss": answer["peak_rss"]}
            except WorkerError as error:
                row["failed"] = str(error).split("\n")[0][:300]
            print(f"  TRL {row}", file=sys.stderr)
            rows.append(row)
            if "failed" in row:
                break
    timed = [row for row in rows if "seconds" in row]
    if not timed:
        raise SystemExit(f"no configuration of TRL ran: {rows}")
    best = min(timed, key=lambda row: float(row["seconds"]))
    return best["precision"], best["batch"], rows


def contest(
    given: argparse.Namespace, folder: str, works: Sequence[work.Work], batches: Sequence[int]
) -> dict[str, Any]:
    """Everything that the module's docstring says, for these works."""
    from aha.models.load import count_parameters, describe

    names = measure.chosen([*OURS, *PEERS], given.contestants)
    parameters = count_parameters(describe(Path(folder)))
    result: dict[str, Any] = {"model": given.model, "cases": {}, "loaded": {}}
    if any(name.startswith("trl") for name in names):
        result["gradient"] = _gradient(given, folder, works[-1], parameters)
    for asked in works:
        print(f"{asked.case}: {asked.answer_tokens} answer tokens", file=sys.stderr)
        case: dict[str, Any] = {"work": asked.facts(), "duels": []}
        settings = {"trl/defaults": DEFAULTS}
        mine = [name for name in OURS if name in names]
        peers: list[str | None] = [name for name in PEERS if name in names]
        for peer in peers or [None]:
            present = [*mine, peer] if peer else mine
            room = room_beside(len(present) - 1, parameters)
            if "trl/tuned" in present:
                best, rows = _tuning(given, folder, asked, batches, room)
                settings["trl/tuned"] = tuned(*best)
                case["trl_tuned"] = {"precision": best[0], "batch": best[1], "search": rows}
            with ExitStack() as stack:
                running = {}
                for name in present:
                    if name in OURS:
                        dtype = name.partition("/")[2]
                        worker = ours(dtype, folder, asked, given.threads, room)
                    else:
                        worker = trl(name, folder, asked, settings[name], given.threads)
                    running[name] = stack.enter_context(worker)
                    result["loaded"][f"{asked.case} {name}"] = worker.facts
                try:
                    duel = _duel(given, asked, running, flat=not case["duels"])
                except WorkerError as error:  # most often killed for its memory: the others go on
                    said = str(error).split("\n")[0][:300]
                    print(f"  {said}", file=sys.stderr)
                    case.setdefault("failed", []).append({"contestants": present, "said": said})
                    continue
                case["duels"].append(duel)
            first = next(iter(duel.values()))["contestants"]
            mine = [fastest] if (fastest := _fastest(first)) else []
        result["cases"][asked.case] = case
    return result


def _tuning(
    given: argparse.Namespace, folder: str, asked: work.Work, batches: Sequence[int], room: int
) -> tuple[tuple[str, int], list[dict[str, Any]]]:
    if given.trl not in ("", "search"):
        precision, _, size = given.trl.partition(":")
        return (precision, int(size)), []
    if given.quick and not given.trl:
        return ("float32", batches[0]), []
    precision, batch, rows = search(folder, asked, given.threads, batches, room)
    return (precision, batch), rows


def _duel(
    given: argparse.Namespace, asked: work.Work, running: Mapping[str, Worker], *, flat: bool
) -> dict[str, Any]:
    """Whole steps in turns; updates on recorded answers in turns; `flat`: with half of the groups
    flat too, where the case is named."""
    fields, names = asked.as_dict(), list(running)
    rounds = 1 if given.quick else given.rounds

    def steps(flat: Sequence[int]) -> dict[str, Any]:
        calls = {
            name: lambda number, w=running[name]: w.ask(
                "step", work=fields, round=number, flat=flat
            )
            for name in names
        }
        return summed(in_turns(rounds, calls), asked)

    found = {"step": steps(())} if "step" in given.parts else {}
    recorder = next((name for name in OURS if name in running), None)
    if recorder and "update" in given.parts:
        kept = running[recorder].ask("step", work=fields, round=rounds + 1, keep=True)
        calls = {}
        for name in names:
            more = {"logprobs": kept["logprobs"]} if name in OURS else {}
            calls[name] = lambda number, w=running[name], more=more: w.ask(
                "update", work=fields, token_ids=kept["token_ids"], **more
            )
        found["update"] = summed(in_turns(rounds, calls), asked)
    if flat and asked.case in given.flat:
        found["half_flat"] = steps(list(range(1, len(asked.prompts), 2)))
    return found


def _fastest(figures: Mapping[str, Any]) -> str | None:
    mine = [name for name in figures if name in OURS]
    return min(mine, key=lambda name: figures[name]["seconds"]["median"], default=None)


def _gradient(
    given: argparse.Namespace, folder: str, asked: work.Work, parameters: int
) -> dict[str, Any]:
    """The comparison of gradients.py on a smaller batch with the prompts of `asked`."""
    prompts, answers = (2, 4) if given.quick else (4, 4)
    cap = 16 if given.quick else 96
    fields = asked.as_dict()
    lengths = work.ragged(prompts * answers, given.seed, mean=cap / 2, cap=cap)
    small = {key: fields[key][:prompts] for key in ("texts", "prompts", "golds")}
    batch = work.of_dict(fields | small | {"lengths": work.groups(lengths, answers)})
    room = room_beside(1, parameters)
    with ExitStack() as stack:
        mine = stack.enter_context(ours("float32", folder, batch, given.threads, room))
        settings = tuned("float32", 4)
        other = stack.enter_context(trl("trl_gradient", folder, batch, settings, given.threads))
        return gradients.check(mine, other, batch, seed=given.seed)


def summed(rounds: dict[str, list[dict[str, Any]]], asked: work.Work) -> dict[str, Any]:
    """Figures of each contestant, and how many times aha's fastest is as fast as each peer."""
    figures: dict[str, Any] = {}
    for name, answers in rounds.items():
        figure = {
            "seconds": measure.spread(a["seconds"] - _grading(name, a) for a in answers),
            "peak_rss": max(a["peak_rss"] for a in answers),
        }
        if "rollout_s" in answers[0] or "generate_s" in answers[0]:
            figure["seconds"] = measure.spread(a["seconds"] for a in answers)
            figure["rollout_s"] = measure.spread(_rollout(a) for a in answers)
            figure["update_s"] = measure.spread(_update(a) for a in answers)
            figure["answers_per_s"] = measure.rate(asked.answers, figure["seconds"]["rounds"])
        figures[name] = figure
    medians = {name: figure["seconds"]["median"] for name, figure in figures.items()}
    mine = min((value for name, value in medians.items() if name in OURS), default=None)
    over = {name: value / mine for name, value in medians.items() if mine and name not in OURS}
    return {"contestants": figures, "aha_over": over}


def _grading(name: str, answer: dict[str, Any]) -> float:
    """Replay is the update half alone: what TRL spends on rewards in it is taken off."""
    return 0.0 if name in OURS else float(answer.get("rewards_s", 0.0))


def _rollout(answer: dict[str, Any]) -> float:
    return float(answer["rollout_s"] if "rollout_s" in answer else answer["generate_s"])


def _update(answer: dict[str, Any]) -> float:
    if "update_s" in answer:
        return float(answer["update_s"])
    return float(answer["seconds"] - answer["generate_s"] - answer.get("rewards_s", 0.0))


def shown(result: dict[str, Any]) -> str:
    rows = []
    for case, found in result["cases"].items():
        for duel in found["duels"]:
            for part, outcome in duel.items():
                for name, figure in outcome["contestants"].items():
                    halves = [
                        f"{figure[key]['median']:.1f}" if key in figure else ""
                        for key in ("rollout_s", "update_s")
                    ]
                    memory = f"{figure['peak_rss'] / 1e9:.2f}"
                    time = measure.shown(figure["seconds"], 2)
                    rows.append([f"{part} {case}  {name}", time, *halves, memory])
    return measure.table(["grpo", "seconds", "rollout", "update", "peak RSS, GB"], rows)


def options(parser: argparse.ArgumentParser, *, cases: Sequence[str], flat: Sequence[str]) -> None:
    parser.add_argument("--cases", nargs="*", default=list(cases))
    parser.add_argument("--flat", nargs="*", default=list(flat), help="cases with a half-flat part")
    parser.add_argument(
        "--parts", nargs="*", default=["step", "update"], choices=["step", "update"]
    )
    parser.add_argument("--data", default="", help="a source of problems, e.g. a GSM8K folder")
    parser.add_argument("--trl", default="", help="tuned: PRECISION:BATCH, or search")


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "")
    options(parser, cases=("short", "equal", "ragged"), flat=("ragged",))
    given = parser.parse_args(argv)
    busy = measure.busy()
    folder = folder_of(given.model)
    sizes: dict[str, Any] = {"prompts": 2, "answers": 4, "tokens": 16} if given.quick else {}
    works = [
        work.make(case, tokenizer_of(folder), seed=given.seed, data=given.data, **sizes)
        for case in given.cases
    ]
    result: dict[str, Any] = {"claim": "seconds of a whole GRPO step"}
    result |= {"busy_before": busy, "busy": busy["busy"]}
    result |= contest(given, folder, works, BATCHES)
    print(shown(result))
    measure.write("grpo_step", given, result)
    return result


if __name__ == "__main__":
    main()

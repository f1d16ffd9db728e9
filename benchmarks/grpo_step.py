"""A whole GRPO step (sample, grade, update, optimizer) beside TRL's GRPOTrainer on the same model.

    python -m benchmarks.grpo_step [--cases short equal ragged] [--quick] [--trl PRECISION:BATCH]

8 prompts x 8 answers of forced lengths; DAPO's form, no KL term, one step per phase, AdamW; both sides
reward a number made from the token ids (every group informative) and grade every answer too, with
weight 0. First the gradients are compared (gradients.py). TRL is tuned on the first case: without
checkpointing, in float32 or bfloat16 autocast, in the batch from which larger and smaller ones are slower;
one step of each. Longer cases take the same, in batches that fit the memory by those steps. Its
defaults (batches of 8, checkpointing) and bfloat16 weights (which lose small updates) take one step too
(all in `trl_tuned`). Rounds alternate; who is idle keeps its model. In cases named by --update also the
update half alone, on recorded answers; by --flat also steps in which half of the groups are flat.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import environments, gradients, measure, work
from benchmarks.rollout import folder_of, need, tokenizer_of
from benchmarks.workers import Worker, WorkerError, in_turns

KEEPING = ("autocast", "float32")
"""Precisions that keep master weights in float32."""
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {"bf16": False, "model_init_kwargs": {"dtype": "float32"}},
    "autocast": {"bf16": True, "model_init_kwargs": {"dtype": "float32"}},
    "bfloat16": {"bf16": False, "model_init_kwargs": {"dtype": "bfloat16"}},
}
TUNED = {"gradient_checkpointing": False, "log_completions": False, "disable_dropout": True}
DEFAULTS: dict[str, Any] = {"per_device_train_batch_size": 8}
BATCHES = (4, 8, 16, 32, 64)
"""The search begins in the middle."""
OURS = ("aha/bfloat16", "aha/float32")
PEER = "trl/tuned"
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
) -> dict[str, Any]:
    """TRL's fastest precision and batch for this work, and what each that was tried took.

    Each is started alone, warmed up with short answers, and takes one step. One that needs more
    memory than `room` is noted with what it said.
    """
    rows: list[dict[str, Any]] = []
    sizes = [batch for batch in batches if asked.answers % batch == 0]

    def seconds(precision: str, batch: int, settings: Mapping[str, Any]) -> float:
        row = _tried(folder, asked, threads, settings, int(HEADROOM * room))
        rows.append({"precision": precision, "batch": batch, **row})
        print(f"  TRL {rows[-1]}", file=sys.stderr)
        return float(row.get("seconds", math.inf))

    begin = len(sizes) // 2
    first = {name: seconds(name, sizes[begin], tuned(name, sizes[begin])) for name in KEEPING}
    precision = min(first, key=lambda name: first[name])
    best, fastest = sizes[begin], first[precision]
    for ahead in (sizes[begin + 1 :], sizes[:begin][::-1]):
        for batch in ahead:
            if (now := seconds(precision, batch, tuned(precision, batch))) >= fastest:
                break
            best, fastest = batch, now
        if best != sizes[begin]:
            break
    if fastest == math.inf:
        raise SystemExit(f"no configuration of TRL ran: {rows}")
    seconds("bfloat16", best, tuned("bfloat16", best))
    seconds("defaults", DEFAULTS["per_device_train_batch_size"], DEFAULTS)
    return {"case": asked.case, "precision": precision, "batch": best, "search": rows}


def _tried(
    folder: str, asked: work.Work, threads: int, settings: Mapping[str, Any], limit: int
) -> dict[str, Any]:
    """Seconds and peak memory of one step, or why there was none."""
    try:
        with trl("trl_search", folder, asked, settings, threads, limit) as worker:
            worker.ask("step", work=work.warm(asked).as_dict(), round=0)
            answer = worker.ask("step", work=asked.as_dict(), round=1)
    except WorkerError as error:
        return {"failed": str(error).split("\n")[0][:300]}
    return {"seconds": answer["seconds"], "peak_rss": answer["peak_rss"]}


def batch_for(
    asked: work.Work,
    first: work.Work,
    found: Mapping[str, Any],
    batches: Sequence[int],
    room: int,
) -> int:
    """The batch of `first`'s search, or the largest of `batches` below it that should fit for `asked`.

    Memory of a step is taken to be linear in the padded tokens of its batch, through what two
    batches of the search took.
    """
    best = int(found["batch"])
    seen = {
        int(row["batch"]): row["peak_rss"]
        for row in found.get("search", ())
        if row["precision"] == found["precision"] and "peak_rss" in row
    }
    if len(seen) < 2:
        return best
    (low, least), (high, most) = min(seen.items()), max(seen.items())
    a_row = max(0.0, (most - least) / (high - low)) / _padded(first)
    rest = most - a_row * high * _padded(first)
    fitting = [
        batch
        for batch in batches
        if batch <= best and rest + a_row * batch * _padded(asked) <= HEADROOM * room
    ]
    return max(fitting, default=min(best, *batches))


def _padded(asked: work.Work) -> int:
    """Tokens of a row of a padded batch."""
    return max(map(len, asked.prompts)) + asked.longest


def contest(
    given: argparse.Namespace, folder: str, works: Sequence[work.Work], batches: Sequence[int]
) -> dict[str, Any]:
    """Everything that the module's docstring says, for these works."""
    from aha.models.load import count_parameters, describe

    names = measure.chosen([*OURS, PEER], given.contestants)
    parameters = count_parameters(describe(Path(folder)))
    result: dict[str, Any] = {"model": given.model, "cases": {}, "loaded": {}}
    mine = [name for name in OURS if name in names]
    found: dict[str, Any] = {}
    if PEER in names:
        result["gradient"] = _gradient(given, folder, works[-1], parameters)
        found = _tuning(given, folder, works[0], batches, room_beside(0, parameters))
        result["trl_tuned"] = found
    if len(mine) > 1:
        seconds = {name: _alone(name, folder, works[0], given.threads) for name in mine}
        result["ours"] = {"case": works[0].case, "seconds": seconds}
        print(f"  {result['ours']}", file=sys.stderr)
        mine = [min(mine, key=lambda name: seconds[name])]
    for asked in works:
        print(f"{asked.case}: {asked.answer_tokens} answer tokens", file=sys.stderr)
        room = room_beside(len(mine), parameters)
        batch = batch_for(asked, works[0], found, batches, room) if found else 0
        case: dict[str, Any] = {"work": asked.facts(), "duels": []}
        while not case["duels"]:
            peer = tuned(found["precision"], batch) if found else None
            try:
                case["duels"] = [
                    _side_by_side(given, folder, asked, mine, peer, room, result["loaded"])
                ]
                case["trl_tuned"] = {"precision": found.get("precision"), "batch": batch}
            except WorkerError as error:  # most often killed for its memory
                said = str(error).split("\n")[0][:300]
                print(f"  {said}", file=sys.stderr)
                case.setdefault("failed", []).append({"batch": batch, "said": said})
                batch //= 2
                if batch < min(batches):
                    break
        result["cases"][asked.case] = case
    return result


def _side_by_side(
    given: argparse.Namespace,
    folder: str,
    asked: work.Work,
    mine: Sequence[str],
    peer: Mapping[str, Any] | None,
    room: int,
    loaded: dict[str, Any],
) -> dict[str, Any]:
    """The duel of ours and of TRL in these settings; what each says of itself goes into `loaded`."""
    with ExitStack() as stack:
        running = {}
        for name in mine:
            worker = ours(name.partition("/")[2], folder, asked, given.threads, room)
            running[name] = stack.enter_context(worker)
        if peer is not None:
            worker = trl(PEER, folder, asked, peer, given.threads)
            running[PEER] = stack.enter_context(worker)
        loaded |= {f"{asked.case} {name}": worker.facts for name, worker in running.items()}
        return _duel(given, asked, running)


def _alone(name: str, folder: str, asked: work.Work, threads: int) -> float:
    """Seconds of one step of ours after a warm-up."""
    with ours(name.partition("/")[2], folder, asked, threads, room_beside(0, 0)) as worker:
        worker.ask("step", work=work.warm(asked).as_dict(), round=0, flat=())
        seconds: float = worker.ask("step", work=asked.as_dict(), round=1, flat=())["seconds"]
        return seconds


def _tuning(
    given: argparse.Namespace, folder: str, asked: work.Work, batches: Sequence[int], room: int
) -> dict[str, Any]:
    if given.trl:
        precision, _, size = given.trl.partition(":")
        return {"precision": precision, "batch": int(size)}
    if given.quick:
        return {"precision": "float32", "batch": batches[0]}
    return search(folder, asked, given.threads, batches, room)


def _duel(
    given: argparse.Namespace, asked: work.Work, running: Mapping[str, Worker]
) -> dict[str, Any]:
    """Whole steps in turns; where the case is named, updates on recorded answers, and steps with half
    of the groups flat."""
    fields, names = asked.as_dict(), list(running)
    small = work.warm(asked).as_dict()
    rounds = 1 if given.quick else given.rounds

    def steps(flat: Sequence[int]) -> dict[str, Any]:
        calls = {
            name: lambda number, w=running[name]: w.ask(
                "step", work=fields if number else small, round=number, flat=flat
            )
            for name in names
        }
        return summed(in_turns(rounds, calls, minutes=given.minutes, warm_up=not flat), asked)

    found = {"step": steps(())}
    recorder = next((name for name in OURS if name in running), None)
    if recorder and asked.case in given.update:
        kept = running[recorder].ask("step", work=fields, round=rounds + 1, keep=True)
        calls = {}
        for name in names:
            more = {"logprobs": kept["logprobs"]} if name in OURS else {}
            calls[name] = lambda number, w=running[name], more=more: w.ask(
                "update", work=fields, token_ids=kept["token_ids"], **more
            )
        taken = in_turns(rounds, calls, minutes=given.minutes, warm_up=False)
        found["update"] = summed(taken, asked)
    if asked.case in given.flat:
        found["half_flat"] = steps(list(range(1, len(asked.prompts), 2)))
    return found


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
    for row in result.get("trl_tuned", {}).get("search", ()):
        name = f"one step {result['trl_tuned']['case']}  trl/{row['precision']} x {row['batch']}"
        if "failed" in row:
            rows.append([name, "failed", "", "", ""])
        else:
            taken, memory = row["seconds"], row["peak_rss"]
            rows.append([name, f"{taken:.2f}", "", "", f"{memory / 1e9:.2f}"])
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


def options(
    parser: argparse.ArgumentParser,
    *,
    cases: Sequence[str],
    update: Sequence[str],
    flat: Sequence[str],
) -> None:
    parser.add_argument("--cases", nargs="*", default=list(cases))
    parser.add_argument(
        "--update", nargs="*", default=list(update), help="cases with its half alone"
    )
    parser.add_argument("--flat", nargs="*", default=list(flat), help="cases with a half-flat part")
    parser.add_argument("--data", default="", help="a source of problems, e.g. a GSM8K folder")
    parser.add_argument("--trl", default="", help="PRECISION:BATCH in place of the search")


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "", minutes=10)
    options(parser, cases=("short", "equal", "ragged"), update=("short",), flat=())
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

"""Can reinforcement learning start from this base? Measured on a model, before any is spent on it.

    drills      easy single steps right at temperature 1          wanted: 95 % or more
    format      answers in <think> and <answer> tags              wanted: 1 to 10 %
    pass@1      held-out problems of TASK, R1-Zero template       wanted: 5 to 30 %
    pass@k      solved at least once in k samples                 wanted: 60 % or more
    informative groups neither all right nor all wrong            wanted: 40 % or more

Below these, earlier trials learned the format and nothing else. The answers are sampled and graded
as `aha eval` does it (same engine, graders, receipt), from the whole distribution at temperature 1.
Also given, without a bound: how reliable each style of answer is. If longer styles are not more
often right, reinforcement learning has no reason to think longer.
"""

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from aha import files
from aha.config import DataConfig, EvalConfig
from aha.data import corpus_arithmetic, sources
from aha.evals import ask
from aha.evals import run as evals
from aha.report.lines import table_lines
from aha.rewards.format import format_reward
from aha.rewards.workers import GraderPool
from aha.rollout.engine import SamplingParams

TASK = "arithmetic?lang=mix&digits=1&factor=29&products=1"
"""What the base is made for: recipes/zero_laptop.toml trains on it."""
BOUNDS = {
    "drills_right": (0.95, 1.0),
    "format_rate": (0.01, 0.10),
    "pass@1": (0.05, 0.30),
    "pass@k": (0.60, 1.0),
    "informative": (0.40, 1.0),
}
"""Lowest and highest share that pass."""

STEP = re.compile(r"(-?\d+) ([+*-]) (-?\d+) = (-?\d+)(?!\?)\b(?!\d)")
CHECKS = re.compile(r"wait|check|again|等等|检查|验算|重新|再算一次|对不对", re.IGNORECASE)
STYLES = ("direct", "short", "long")
SHOTS = "3 * 5 = 15\n40 + 7 = 47\n"


def gates(
    model: str | Path,
    *,
    problems_n: int = 64,
    samples: int = 16,
    drills_n: int = 512,
    tokens: int = 160,
    seed: int = 0,
    out: Path | None = None,
) -> dict[str, Any]:
    """Measure the gates of a model (anything that `aha eval` takes); shares are 0..1.

    `verdicts` of the table says which gates are passed. Steps written in answers (`steps_right`), the
    last number of an answer's first turn, whatever its form (`last_number_right`), and the same by
    style are given for judgement. `out` keeps the samples.
    """
    engine, loaded = opened = ask.engine_of(str(model))
    settings = DataConfig(heldout=TASK)
    held = sources.load(TASK, split="heldout", config=settings).prompts
    config = EvalConfig(
        problems=problems_n,
        samples=samples,
        temperature=1.0,
        top_p=1.0,
        max_answer_tokens=tokens,
    )
    table: dict[str, Any] = {"drills_right": _drills(engine, loaded.tokenizer, drills_n, seed)}
    with GraderPool(workers=2) as graders, tempfile.TemporaryDirectory() as spare:
        folder = out or Path(spare)
        result = ask.measure(
            opened, held, settings, config, graders, folder=folder, answers="rl", seed=seed
        )
        rows = files.read_jsonl(folder / "samples.jsonl")
    return table | summarise(rows, result, samples)


def summarise(rows: Sequence[dict[str, Any]], result: evals.Result, k: int) -> dict[str, Any]:
    """The gates but for the drills, from an evaluation's sample rows."""
    texts = [row["prefill"] + row["response"] for row in rows]
    turns = [text.split("User:")[0] for text in texts]  # a base may go on with a talk of its own
    groups: dict[str, list[bool]] = {}
    for row in rows:
        groups.setdefault(row["problem"], []).append(row["correct"])
    golds = [row["gold"] for row in rows]
    table: dict[str, Any] = {
        "format_rate": _share([format_reward(text, "think", "answer") == 1.0 for text in texts]),
        "parsed": _share([row["status"] != "unparsed" for row in rows]),
        "pass@1": _share([row["correct"] for row in rows]),
        "pass@k": _share([any(group) for group in groups.values()]),
        "informative": _share([any(group) and not all(group) for group in groups.values()]),
        "last_number_right": _share(
            [_last(turn) == gold for turn, gold in zip(turns, golds, strict=True)]
        ),
        "steps_right": _share([good for text in texts for good in _steps(text)]),
        "styles": _styles(turns, golds),
        "domains": {
            name: round(numbers["pass_at_1"], 4) for name, numbers in result.by["domain"].items()
        },
        "tokens_mean": round(result.numbers["tokens_mean"], 1),
        "k": k,
        "problems": len(groups),
        "receipt": result.receipt,
    }
    return table


def verdicts(table: dict[str, Any]) -> dict[str, bool]:
    """Gate -> passed."""
    return {gate: low <= table[gate] <= high for gate, (low, high) in BOUNDS.items()}


def lines(table: dict[str, Any]) -> list[str]:
    """The table as text."""
    passed = verdicts(table)
    said = {
        "drills_right": "easy single steps right",
        "format_rate": "format",
        "pass@1": "pass@1",
        "pass@k": f"pass@{table['k']}",
        "informative": "informative groups",
    }
    rows = [
        [said[gate], f"{table[gate]:.1%}", _bounds(low, high), "yes" if passed[gate] else "NO"]
        for gate, (low, high) in BOUNDS.items()
    ]
    styles = [
        [name, f"{style['share']:.1%}", f"{style['right']:.1%}", f"{style['letters']:.0f}"]
        for name in STYLES
        for style in [table["styles"][name]]
    ]
    return [
        *table_lines(["gate", "measured", "wanted", "passed"], rows),
        "",
        *table_lines(["style", "share", "right", "letters"], styles),
    ]


def show(model: str, *, as_json: bool, out: Path | None, echo: Callable[[str], None]) -> None:
    """Measure and print (`aha eval MODEL --gates`)."""
    table = gates(model, out=out)
    table["passed"] = verdicts(table)
    echo(json.dumps(table, indent=2, ensure_ascii=False) if as_json else "\n".join(lines(table)))


def _bounds(low: float, high: float) -> str:
    return f"{low:.0%} or more" if high == 1.0 else f"{low:.0%} to {high:.0%}"


def _drills(engine: Any, tokenizer: Any, n: int, seed: int) -> float:
    """Share of easy single steps that are right, in the layout of the drills.

    The steps are those that held-out problems of TASK are worked in, hard ones taken apart.
    """
    rng = Random(f"drills {seed}")
    held = sources.load(TASK + "&seed=1", split="heldout", config=DataConfig(heldout=TASK)).prompts
    params = SamplingParams(max_tokens=6, temperature=1.0, stream=(seed, "drills"))
    golds: dict[str, int] = {}
    for number in range(n):
        given = held[number % len(held)].columns["expression"]
        a, sign, b, gold = rng.choice(corpus_arithmetic.easy_steps(given))
        golds[str(number)] = gold
        engine.submit(str(number), tokenizer.encode(f"{SHOTS}{a} {sign} {b} ="), 1, params)
    right = 0
    while engine.pending():
        for rollout in engine.step():
            found = re.match(r" (-?\d+)(?!\d)", rollout.text)
            right += found is not None and int(found[1]) == golds[rollout.prompt_id]
    return round(right / n, 4)


def _styles(texts: list[str], golds: list[str]) -> dict[str, dict[str, float]]:
    """Share of each style, how often its last number is right, and its mean length in letters."""
    kinds = []
    for text in texts:
        steps = len(STEP.findall(text))
        kinds.append("long" if CHECKS.search(text) else "short" if steps else "direct")
    good = [_last(text) == gold for text, gold in zip(texts, golds, strict=True)]
    table = {}
    for kind in STYLES:
        lengths = [len(text) for text, k in zip(texts, kinds, strict=True) if k == kind]
        table[kind] = {
            "share": _share([k == kind for k in kinds]),
            "right": _share([g for g, k in zip(good, kinds, strict=True) if k == kind]),
            "letters": round(sum(lengths) / len(lengths), 1) if lengths else 0.0,
        }
    return table


def _last(text: str) -> str | None:
    numbers = re.findall(r"-?\d+", text)
    return numbers[-1] if numbers else None


def _steps(text: str) -> list[bool]:
    return [_worth(int(a), s, int(b)) == int(r) for a, s, b, r in STEP.findall(text)]


def _worth(a: int, sign: str, b: int) -> int:
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0

"""Grading answers: plain forms a second, the slowest in a hundred, and hostile answers in the pool.

    python -m benchmarks.graders [--rounds 5] [--threads 2] [--quick]

First every form in this process, on one core, no text twice: what `grade` costs with the extraction.
Then a mix with one bomb in a hundred (exponent towers, factorials, deep nesting, a million characters)
through the pool: a case's wall time runs from its submission to its verdict, and nobody waits in line.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from aha.rewards.grade import grade
from aha.rewards.workers import GraderPool
from benchmarks import measure

Case = tuple[str, str, str, bool]
"""Kind, gold, response, whether it is right."""
AIM_PER_S, AIM_P99_MS, AIM_WALL_S = 5000, 5.0, 2.5
NUMERIC = ("integer", "grouped", "decimal", "fraction", "mixed", "percent", "unit", "scientific")


def boxed(answer: str) -> str:
    return f"<think>Let me see.</think> So the answer is $\\boxed{{{answer}}}$."


def _numeric(name: str, rng: random.Random) -> tuple[str, str, str]:
    """Gold, a right answer in another spelling, a wrong one."""
    n, d = rng.randrange(10**3, 10**9), rng.randrange(3, 99)
    k = rng.randrange(1, d)
    forms = {
        "integer": (f"{n}", f"{n}", f"{n + 1}"),
        "grouped": (f"{n}", f"{n:,}", f"{n + 1:,}"),
        "decimal": (f"{n}.25", f"\\frac{{{4 * n + 1}}}{{4}}", f"{n}.26"),
        "fraction": (f"\\frac{{{n}}}{{{d}}}", f"{2 * n}/{2 * d}", f"{n + 1}/{d}"),
        "mixed": (f"{n * d + k}/{d}", f"{n}\\frac{{{k}}}{{{d}}}", f"{n + 1}\\frac{{{k}}}{{{d}}}"),
        "percent": (f"{n}\\%", f"{n} percent", f"{n + 1}\\%"),
        "unit": (f"{n} \\text{{ cm}}", f"{n} cm", f"{n} km"),
        "scientific": (f"{n}000", f"{n} \\times 10^3", f"{n} \\times 10^4"),
    }
    return forms[name]


def _numerics(name: str) -> Callable[[random.Random], Case]:
    def made(rng: random.Random) -> Case:
        gold, right, wrong = _numeric(name, rng)
        good = rng.random() < 0.5
        return "math", gold, boxed(right if good else wrong), good

    return made


def _chinese(rng: random.Random) -> Case:
    n, good = rng.randrange(10, 10**6), rng.random() < 0.5
    return "math", f"{n * 10000}", boxed(f"{n if good else n + 1}万元"), good


def _symbols(rng: random.Random) -> Case:
    a, b, good = rng.randrange(2, 999), rng.randrange(2, 999), rng.random() < 0.5
    answer = f"x^2 + {a + b}x + {a * b if good else a * b + 1}"
    return "math", f"(x+{a})(x+{b})", boxed(answer), good


def _interval(rng: random.Random) -> Case:
    a, good = rng.randrange(2, 10**6), rng.random() < 0.5
    below = "<" if good else "\\le"
    return "math", f"[{a}, {a + 5})", boxed(f"{a} \\le x {below} {a + 5}"), good


def _choice(rng: random.Random) -> Case:
    letter, good = rng.choice("ABCD"), rng.random() < 0.5
    other = letter if good else rng.choice("ABCD".replace(letter, ""))
    return "choice", letter, boxed(f"\\text{{({other})}} {rng.randrange(10**6)}"), good


def _tolerance(rng: random.Random) -> Case:
    n, good = rng.randrange(10**4, 10**8), rng.random() < 0.5
    gold = f'{{"value": {n}, "rel": 0.01}}'
    return "numeric", gold, boxed(f"{n * (1.005 if good else 1.015):.2f}"), good


def _knights(rng: random.Random) -> Case:
    good, role = rng.random() < 0.5, rng.random() < 0.5
    who = f"Ann{rng.choice('abcdefgh')}"
    gold = f'{{"names": ["{who}", "Bob"], "solution": [{str(role).lower()}, true]}}'
    said = "knight" if role is good else "knave"
    return "knights", gold, f"<answer>{who} is a {said}\nBob is a knight</answer>", good


def _output(rng: random.Random) -> Case:
    n, good = rng.randrange(10**9), rng.random() < 0.5
    gold = f'{{"form": "output", "value": "[{n}, \'a\', (1, 2)]"}}'
    return "code_io", gold, f"<answer>[{n if good else n + 1}, 'a', (1, 2)]</answer>", good


FORMS: dict[str, Callable[[random.Random], Case]] = {
    **{name: _numerics(name) for name in NUMERIC},
    "chinese": _chinese,
    "symbols": _symbols,
    "interval": _interval,
    "choice": _choice,
    "tolerance": _tolerance,
    "knights": _knights,
    "code_io output": _output,
}
BOMBS: dict[str, Callable[[random.Random], str]] = {
    "tower": lambda r: f"9^{{9^{{9^{{{r.randrange(9, 99)}}}}}}}",
    "power of powers": lambda r: f"({r.randrange(2, 99)}^{{60000}}+1)" * 50,
    "factorial": lambda r: f"(({r.randrange(9, 999)}!)!)!",
    "large factorials": lambda r: f"{r.randrange(3000, 4000)}!" + "\\cdot 3999!" * 400,
    "digits": lambda r: str(r.randrange(1, 9)) * 100_000,
    "brackets": lambda r: "(" * r.randrange(1000, 2000) + "1" + ")" * 2000,
    "fractions": lambda r: "\\frac{1}{" * r.randrange(300, 800) + "2" + "}" * 800,
    "roots": lambda r: "\\sqrt{" * r.randrange(40, 49) + "x" + "}" * 49,
    "a million characters": lambda r: f"{r.randrange(99)}+" * 400_000,
    "a million boxes": lambda r: "\\boxed{" * r.randrange(140_000, 150_000),
    "sines": lambda r: "\\sin(" * 40 + f"x+{r.randrange(99)}" + ")" * 40,
    "a long product": lambda r: "(x+1)" * r.randrange(500, 700),
    "tangent": lambda r: f"\\tan(10^{{{r.randrange(10**4, 10**5)}}})",
    "sums": lambda r: f"\\sum_{{n=1}}^{{10^{{{r.randrange(9, 99)}}}}} \\frac{{1}}{{n}}",
    "binomial": lambda r: f"\\binom{{10^{{{r.randrange(5, 9)}}}}}{{5 \\cdot 10^{{4}}}}",
    "intervals": lambda r: f"({r.randrange(99)},2)\\cup" * 300 + "(1,2)",
}


def forms(rounds: int, size: int, seed: int) -> dict[str, Any]:
    """Gradings a second and the 99th percentile in ms, form by form, rounds alternating."""
    rng = random.Random(seed)
    took: dict[str, list[float]] = {name: [] for name in FORMS}
    rates: dict[str, list[float]] = {name: [] for name in FORMS}
    for turn in range(rounds + 1):  # the first warms up
        for name, made in FORMS.items():
            cases = [made(rng) for _ in range(size)]
            times = [_graded(case) for case in cases]
            if turn:
                took[name] += times
                rates[name].append(size / sum(times))
    return {
        name: {
            "per_s": measure.spread(rates[name]),
            "p99_ms": 1000 * sorted(took[name])[int(len(took[name]) * 0.99)],
            "max_ms": 1000 * max(took[name]),
        }
        for name in FORMS
    }


def _graded(case: Case) -> float:
    kind, gold, response, right = case
    begun = time.perf_counter()
    verdict = grade(kind, gold, response)
    took = time.perf_counter() - begun
    assert (verdict.status == "correct") is right, (case, verdict)
    return took


def mixed(size: int, workers: int, seed: int) -> dict[str, Any]:
    """One bomb in a hundred, at least one of each; wall seconds of the honest cases and of the bombs."""
    rng = random.Random(seed)
    count = max(len(BOMBS), size // 100)
    bombs = [list(BOMBS)[i % len(BOMBS)] for i in range(count)]
    jobs = [("", *rng.choice(list(FORMS.values()))(rng)) for _ in range(size)]
    for name in bombs:
        gold = rng.choice(("7", "x+1", "\\sqrt{2}"))
        jobs.append((name, "math", gold, boxed(BOMBS[name](rng)), False))
    rng.shuffle(jobs)
    wall: dict[str, list[float]] = {"honest": [], "bomb": []}
    slowest = dict.fromkeys(BOMBS, 0.0)
    statuses: Counter[str] = Counter()
    wrong = 0
    with GraderPool(workers=workers, seconds=2.0) as pool:
        for number in range(workers):  # both start before the clock does
            pool.submit(f"warm {number}", "math", "x^2+2x+1", f"\\boxed{{(x+1)^2+{number}x}}")
        pool.drain()
        begun: dict[str, float] = {}
        queue = list(enumerate(jobs))
        start = time.perf_counter()
        while queue or begun:
            while queue and len(begun) < workers:
                number, (_, kind, gold, response, _) = queue.pop()
                begun[str(number)] = time.perf_counter()
                pool.submit(str(number), kind, gold, response)
            for key, verdict in pool.poll(1.0):
                took = time.perf_counter() - begun.pop(key)
                name, *_, right = jobs[int(key)]
                wall["bomb" if name else "honest"].append(took)
                if name:
                    slowest[name] = max(slowest[name], took)
                    statuses[verdict.status] += 1
                wrong += (verdict.status == "correct") is not right
        seconds = time.perf_counter() - start
        return {
            "cases": len(jobs),
            "bombs": len(bombs),
            "workers": workers,
            "per_s": len(jobs) / seconds,
            "misjudged": wrong,
            "bomb_verdicts": dict(statuses),
            "killed": pool.killed,
            "retried": pool.retried,
            "honest_p99_ms": 1000 * sorted(wall["honest"])[int(len(wall["honest"]) * 0.99)],
            "honest_max_s": max(wall["honest"]),
            "bomb_max_s": max(wall["bomb"]),
            "bomb_max_s_by_name": slowest,
        }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "", rounds=5, model="")
    parser.add_argument("--size", type=int, default=2000, help="answers of each form and round")
    parser.add_argument("--mixed", type=int, default=10_000, help="honest answers beside the bombs")
    given = parser.parse_args(argv)
    busy = measure.busy()
    size, honest = (40, 80) if given.quick else (given.size, given.mixed)
    found = forms(2 if given.quick else given.rounds, size, given.seed)
    print("forms done; now the pool", file=sys.stderr)
    plain = [found[name] for name in NUMERIC]
    result: dict[str, Any] = {
        "claim": "plain answers at 5,000 a second and core, hostile ones within 2.5 s",
        "busy": busy["busy"],
        "others_share": busy["others_share"],
        "forms": found,
        "slowest_plain_per_s": min(form["per_s"]["median"] for form in plain),
        "plain_p99_ms": max(form["p99_ms"] for form in plain),
        "pool": mixed(honest, given.threads, given.seed),
        "aims": {"per_s": AIM_PER_S, "p99_ms": AIM_P99_MS, "wall_s": AIM_WALL_S},
    }
    print(shown(result))
    measure.write("graders", given, result)
    return result


def shown(result: dict[str, Any]) -> str:
    rows = [
        [name, measure.shown(form["per_s"]), f"{form['p99_ms']:.2f}", f"{form['max_ms']:.1f}"]
        for name, form in result["forms"].items()
    ]
    text = measure.table(["form", "gradings/s, one core", "p99 ms", "max ms"], rows)
    pool = result["pool"]
    return (
        f"{text}\n\npool of {pool['workers']}: {pool['cases']} answers, {pool['bombs']} of them bombs: "
        f"{pool['per_s']:.0f}/s, slowest {pool['bomb_max_s']:.2f} s, honest p99 "
        f"{pool['honest_p99_ms']:.1f} ms, max {pool['honest_max_s']:.2f} s, killed {pool['killed']}, "
        f"misjudged {pool['misjudged']}"
    )


if __name__ == "__main__":
    main()

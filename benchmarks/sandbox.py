"""Grading programs: what a jail costs, and whether reference solutions pass and broken ones do not.

    python -m benchmarks.sandbox [--data FOLDER] [--limit 50] [--quick]

A trivial program in each tier that works here, beside the bare interpreter, in turns. With a folder of
humaneval/test.jsonl, mbpp/test.jsonl and code_contests/leetcode_test.jsonl: every reference solution must
pass; two mutants of each (an operator or constant changed; a statement left out) should not, but some
mean the same.
"""

import ast
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aha.errors import RunError
from aha.rewards.workers import GraderPool
from aha.sandbox.box import Sandbox
from aha.sandbox.types import TIERS, Limits
from benchmarks import measure

TRIVIAL = b"print(6 * 7)"
FILES = {
    "humaneval": "humaneval/test.jsonl",
    "mbpp": "mbpp/test.jsonl",
    "leetcode": "code_contests/leetcode_test.jsonl",
}
_FLIPPED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}


def tasks(name: str, path: Path) -> Iterator[tuple[str, str, str]]:
    """(id, gold, reference solution) of a file."""
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        tests = row["tests"]
        gold: dict[str, Any] = {"form": "assert"}
        solution = row["solution"]
        if name == "humaneval":
            solution = row["prompt"] + solution
            gold |= {"entry": row["entry_point"], "setup": row["prompt"] + "    pass\n"}
            gold["code"] = tests["code"]
        elif name == "mbpp":
            gold |= {"setup": tests["setup"], "code": "\n".join(tests["asserts"])}
        else:
            gold["code"] = tests["code"]
        yield row["id"], json.dumps(gold), solution


def mutant(source: str) -> str | None:
    """The program with its first operator flipped (else its first integer raised); None: it has none."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and type(node.op) in _FLIPPED:
            node.op = _FLIPPED[type(node.op)]()
            return ast.unparse(tree)
        if isinstance(node, ast.Compare) and type(node.ops[0]) in _FLIPPED:
            node.ops[0] = _FLIPPED[type(node.ops[0])]()
            return ast.unparse(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            node.value += 1
            return ast.unparse(tree)
    return None


def shortened(source: str) -> str | None:
    """The program without the last statement of its longest block; None: it has no block of two."""
    tree = ast.parse(source)
    blocks = [
        block
        for node in ast.walk(tree)
        for name in ("body", "orelse")
        if isinstance(block := getattr(node, name, None), list)
        and len(block) > 1
        and not isinstance(node, ast.Module)
    ]
    if not blocks:
        return None
    max(blocks, key=len).pop()
    return ast.unparse(tree)


def overhead(rounds: int) -> dict[str, Any]:
    """Milliseconds of a trivial program, tier by tier in turns; and programs a second, two at a time."""
    found: dict[str, Any] = {}
    opened: dict[str, Sandbox] = {}
    for tier in TIERS:
        try:
            opened[tier] = Sandbox(tier, slots=2)
        except RunError as error:
            found[tier] = {"missing": str(error)[:200]}
    took: dict[str, list[float]] = {tier: [] for tier in opened}
    try:
        for _ in range(rounds):
            for tier, sandbox in opened.items():
                begun = time.perf_counter()
                outcome = sandbox.run(TRIVIAL, limits=Limits())
                took[tier].append(1000 * (time.perf_counter() - begun))
                assert outcome.stdout == b"42\n", outcome
        for tier, sandbox in opened.items():
            begun = time.perf_counter()
            numbers = [sandbox.submit(TRIVIAL) for _ in range(2 * rounds)]
            assert all(sandbox.wait(number).status == "ok" for number in numbers)
            rate = 2 * rounds / (time.perf_counter() - begun)
            found[tier] = {"ms": measure.spread(took[tier][1:]), "programs_per_s": rate}
    finally:
        for sandbox in opened.values():
            sandbox.close()
    return found


def graded(rows: list[tuple[str, str, str]]) -> tuple[dict[str, Any], float]:
    """Verdicts by id, and seconds."""
    with GraderPool(workers=2) as pool:
        pool.submit(
            "warm",
            "code",
            '{"form": "assert", "code": "assert f() == 1"}',
            "```\ndef f(): return 1\n```",
        )
        pool.drain()
        begun = time.perf_counter()
        for key, gold, program in rows:
            pool.submit(key, "code", gold, f"```python\n{program}\n```")
        found = dict(pool.drain())
        return found, time.perf_counter() - begun


def suite(name: str, path: Path, limit: int) -> dict[str, Any]:
    rows = list(tasks(name, path))[: limit or None]
    right, seconds = graded(rows)
    changed = [
        (f"{key} {how.__name__}", gold, how(program))
        for key, gold, program in rows
        for how in (mutant, shortened)
    ]
    mutants = [(key, gold, program) for key, gold, program in changed if program]
    wrong, _ = graded(mutants)
    return {
        "tasks": len(rows),
        "passed": sum(verdict.status == "correct" for verdict in right.values()),
        "failed": {k: v.reason for k, v in right.items() if v.status != "correct"},
        "gradings_per_s": len(rows) / seconds,
        "ms": statistics.median(verdict.ms for verdict in right.values()),
        "mutants": len(mutants),
        "mutants_refused": sum(verdict.status == "wrong" for verdict in wrong.values()),
        "mutants_passed": sorted(k for k, v in wrong.items() if v.status == "correct"),
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "", rounds=40, model="")
    parser.add_argument("--data", type=Path, help="folder of the problem sets")
    parser.add_argument("--limit", type=int, default=0, help="problems of each set; 0: all")
    given = parser.parse_args(argv)
    busy = measure.busy()
    result: dict[str, Any] = {"claim": "what a jail costs; reference solutions pass"}
    result |= {"busy": busy["busy"], "overhead": overhead(5 if given.quick else given.rounds)}
    result["suites"] = {}
    for name, file in FILES.items():
        if given.data and (given.data / file).exists():
            print(name, file=sys.stderr)
            result["suites"][name] = suite(name, given.data / file, given.limit)
    print(shown(result))
    measure.write("sandbox", given, result)
    return result


def shown(result: dict[str, Any]) -> str:
    rows = [
        [tier, measure.shown(found["ms"], 1), f"{found['programs_per_s']:.0f}"]
        for tier, found in result["overhead"].items()
        if "ms" in found
    ]
    text = measure.table(["sandbox", "ms", "programs/s, two at a time"], rows)
    rows = [
        [
            name,
            f"{found['passed']} of {found['tasks']}",
            f"{found['mutants_refused']} of {found['mutants']}",
            f"{found['ms']:.0f}",
            f"{found['gradings_per_s']:.0f}",
        ]
        for name, found in result["suites"].items()
    ]
    if rows:
        head = ["problems", "solutions passed", "mutants refused", "ms", "gradings/s"]
        text += "\n\n" + measure.table(head, rows)
    return text


if __name__ == "__main__":
    main()

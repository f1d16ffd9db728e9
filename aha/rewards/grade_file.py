"""Answers in a file, judged: `aha grade`.

Each line is `{"gold": ..., "response": "...", "kind": "math"}` (kind may be missing), plain or
gzipped JSONL. A broken line is a verdict of its own ("error", with its number and what is wrong);
the others go on. Verdicts come in the order of the lines.

With `against` every answer is judged twice, by the grader of its kind and by another one (a kind, or a
reward function of the user): where the two disagree one of them is wrong, and somebody should look.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aha.errors import ConfigError, DataError
from aha.records import Grade
from aha.rewards.grade import GRADERS
from aha.rewards.named import judged_text, of_each
from aha.rewards.user_functions import is_user_function, load
from aha.rewards.workers import GraderPool

OBJECTS = ("countdown", "code", "choice", "numeric", "knights", "code_io")
"""Kinds whose gold may be an object."""
MAX_LINE = 16 << 20
"""Bytes of one line; a longer one is broken."""
_AHEAD = 256
"""Cases under way before the first verdict is handed out."""


def grade_file(
    path: Path,
    *,
    workers: int = 2,
    seconds: float = 2.0,
    sandbox: str = "auto",
    against: str = "",
) -> Iterator[dict[str, Any]]:
    """Yield `{status, extracted, reward, reason, ms}` for every line that is not blank, in order.

    `reward` is None where the status is timeout, error or open: there is no verdict. `sandbox` is the tier in
    which programs run. With `against` (a kind, or FILE.py:FUNCTION) a row also has `against` (the other
    verdict, of the same form) and `agree`: both pay, or neither does; None if one has no verdict.

    Raises:
        ConfigError: `against` is no kind and no function that can be loaded.
        DataError: the file cannot be opened or read.
        RunError: the user's function fails.
    """
    other = _other(against)
    ready: dict[str, Grade] = {}
    first = last = 0
    with GraderPool(workers=workers, seconds=seconds, sandbox=sandbox) as pool:

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal first
            while str(first) in ready and (other is None or f"{first}/2" in ready):
                row = _row(ready.pop(str(first)))
                yield row if other is None else _compared(row, _row(ready.pop(f"{first}/2")))
                first += 1

        for number, line in _lines(Path(path)):
            case = _case(line)
            if isinstance(case, str):
                bad = Grade(status="error", score=0.0, reason=f"bad_line: line {number}: {case}")
                ready |= {str(last): bad, f"{last}/2": bad}
            else:
                kind, gold, response = case
                pool.submit(str(last), kind, gold, response, mode="all")
                if isinstance(other, str):
                    pool.submit(f"{last}/2", other, gold, response, mode="all")
                elif other is not None:
                    ready[f"{last}/2"] = other(kind, gold, response)
            last += 1
            ready |= dict(pool.poll(5.0 if last - first > _AHEAD else 0.0))
            yield from rows()
        while first < last:
            ready |= dict(pool.poll(1.0))
            yield from rows()


def _other(against: str) -> str | Callable[[str, str, str], Grade] | None:
    """The second grader: a kind, or a function (kind, gold, response) -> Grade."""
    if not against or against in GRADERS:
        return against or None
    if not is_user_function(against):
        known = ", ".join(sorted(GRADERS))
        raise ConfigError(
            f"--against {against}: no such grader; known: {known}; or FILE.py:FUNCTION"
        )
    reward = load(against)

    def judge(kind: str, gold: str, response: str) -> Grade:
        [value] = of_each(reward, [judged_text(kind, gold, response)])
        if value is None:
            return Grade(status="error", score=0.0, reason="not_applicable")
        return Grade(
            status="correct" if value >= 1 else "wrong", score=value, reason=f"gave {value:g}"
        )

    return judge


def _compared(row: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    known = row["reward"] is not None and other["reward"] is not None
    agree = (row["status"] == "correct") == (other["status"] == "correct") if known else None
    return row | {"against": other, "agree": agree}


def _row(grade: Grade) -> dict[str, Any]:
    return {
        "status": grade.status,
        "extracted": grade.extracted,
        "reward": grade.score if grade.graded else None,
        "reason": grade.reason,
        "ms": round(grade.ms, 3),
    }


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number, bytes) of the lines that are not blank; of a giant one only its start."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE and not line.endswith(b"\n"):
                    while (more := file.readline(MAX_LINE)) and not more.endswith(b"\n"):
                        pass
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise DataError(f"no file at {path}; give a .jsonl or .jsonl.gz file") from None
    except (OSError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _case(line: bytes) -> tuple[str, str, str] | str:
    """(kind, gold, response), or what is wrong with the line."""
    if len(line) > MAX_LINE:
        return f"longer than {MAX_LINE >> 20} MiB"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    if not isinstance(row, dict):
        return f"a line is an object with gold and response, not {type(row).__name__}"
    for name in ("gold", "response"):
        if name not in row:
            return f"no '{name}'; it has {', '.join(map(repr, list(row)[:8])) or 'no keys'}"
    kind = row.get("kind", "math")
    if not isinstance(kind, str) or kind not in GRADERS:
        return f"kind {kind!r} is not known; known: {', '.join(sorted(GRADERS))}"
    if not isinstance(row["response"], str):
        return f"'response' is text, not {type(row['response']).__name__}"
    gold = _gold(row["gold"], kind)
    if gold is None:
        return f"'gold' is text, a number or a list of them, not {type(row['gold']).__name__}"
    return kind, gold, row["response"]


def _gold(gold: Any, kind: str) -> str | None:
    if isinstance(gold, str):
        return gold
    if kind in OBJECTS and isinstance(gold, dict):
        return json.dumps(gold, ensure_ascii=False)
    if isinstance(gold, int | float) and not isinstance(gold, bool):
        return str(gold)
    if isinstance(gold, list) and gold:
        parts = [_gold(part, kind) for part in gold if not isinstance(part, list)]
        texts = [part for part in parts if part is not None]
        return ", ".join(texts) if len(texts) == len(gold) else None
    return None

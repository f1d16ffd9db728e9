"""A right and a wrong answer of one problem, from the samples that rejection sampling looked at.

    contrasts(selected, rules) -> rows of preference pairs (preferences.py reads them)

Chosen is an answer that was kept, as its dialogue writes it; rejected is one that was judged wrong, with a
lower score, in the same form where it has that form: then a pair differs in what is said alone. Wrong
answers that have the form, and did not run into the token cap, are taken first. A problem gives at most
`per_prompt` pairs; which ones depends on the samples and the seed alone.

Holds not: what is kept (selecting.py), pairs of stored rollouts by reward (stored.py).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from aha.data.selecting import Rules, Sampled, Selected, parts_of, written

WRONG = ("wrong", "unparsed")


def contrasts(selected: Selected, rules: Rules) -> list[dict[str, Any]]:
    """Rows of pairs, in the order of the decisions. [] where no problem has both."""
    kept = [one.sampled for one in selected.decisions if not one.reason]
    right: dict[tuple[str, str], list[tuple[Sampled, dict[str, Any]]]] = {}
    for one, row in zip(kept, selected.rows, strict=True):
        right.setdefault(_problem(one), []).append((one, row))
    wrong: dict[tuple[str, str], list[Sampled]] = {}
    for decision in selected.decisions:
        one = decision.sampled
        if decision.reason and one.grade.status in WRONG and one.response.strip():
            wrong.setdefault(_problem(one), []).append(one)
    rows = []
    for problem, better in right.items():
        worse = sorted(wrong.get(problem, []), key=lambda one: _rank(one, rules))
        pairs = [
            (chosen, row, rejected)
            for (chosen, row), rejected in zip(better, worse, strict=False)
            if chosen.grade.score > rejected.grade.score
        ]
        rows += [_row(*pair, rules) for pair in pairs[: rules.per_prompt or None]]
    return rows


def facts(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """For data.json."""
    return {"pairs": len(rows), "problems": len({(row["source"], row["question"]) for row in rows})}


def _problem(one: Sampled) -> tuple[str, str]:
    return one.prompt.source, one.prompt.id


def _rank(one: Sampled, rules: Rules) -> tuple[bool, bool, str]:
    """Wrong answers that are whole come first; the others in an order of the seed."""
    identity = (str(rules.seed), one.prompt.source, one.prompt.id, one.policy, str(one.sample))
    text = "\x1f".join(identity).encode("utf-8", "surrogatepass")
    formless = parts_of(one, rules) is None
    return one.stopped == "length", formless, hashlib.sha256(text).hexdigest()


def _row(chosen: Sampled, row: dict[str, Any], rejected: Sampled, rules: Rules) -> dict[str, Any]:
    parts = parts_of(rejected, rules)
    if parts is None:
        text = rejected.response.strip()
    else:
        text = written(*parts, rules.write_think_tag or rules.think_tag)
    return {
        "id": f"{row['id']}-{rejected.sample}",
        "question": row["question"],
        "chosen": row["response"],
        "rejected": text,
        "domain": row["domain"],
        "area": row["area"],
        "source": row["source"],
        "from": {
            "chosen": chosen.sample,
            "rejected": rejected.sample,
            "policy": chosen.policy,
            "why": rejected.grade.reason,
        },
    }

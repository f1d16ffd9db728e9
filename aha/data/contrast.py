"""A right and a wrong answer of one problem, from the samples that rejection sampling looked at.

    contrasts(selected, rules) -> rows of preference pairs (preferences.py reads them)

Chosen is an answer that was kept, as its dialogue writes it; rejected is one that was judged wrong, with a
lower score, in the same form where it has that form: then a pair differs in what is said alone. Wrong
answers that have the form, and did not run into the token cap, are taken first. A problem gives at most
`per_prompt` pairs; which ones depends on the samples and the seed alone.

Where right answers were rewritten (refine.py), both sides of a pair are by one hand: both as the rules
rewrite them, or, where these cannot, both as they were sampled. Else a pair would teach who wrote it.

Holds not: what is kept (selecting.py), rewriting (refine.py), pairs of stored rollouts by reward (stored.py).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aha.data.selecting import Rules, Sampled, Selected, parts_of, written

WRONG = ("wrong", "unparsed")
Name = tuple[str, str, str, int]
"""Which sample it is, rewritten or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrites:
    """What was rewritten before it was selected."""

    sampled: Sequence[Sampled]
    """Right and wrong answers as they were sampled; the wrong ones were not selected from."""
    by_rules: Sequence[Sampled]
    """Those of them that rules could rewrite."""
    rules: Rules
    """How an answer is written as it was sampled."""


def contrasts(
    selected: Selected, rules: Rules, rewrites: Rewrites | None = None
) -> list[dict[str, Any]]:
    """Rows of pairs, in the order of the decisions. [] where no problem has both."""
    kept = [one.sampled for one in selected.decisions if not one.reason]
    right: dict[tuple[str, str], list[tuple[Sampled, dict[str, Any]]]] = {}
    for one, row in zip(kept, selected.rows, strict=True):
        right.setdefault(_problem(one), []).append((one, row))
    wrong: dict[tuple[str, str], list[Sampled]] = {}
    dropped = [decision.sampled for decision in selected.decisions if decision.reason]
    for one in (*dropped, *(rewrites.sampled if rewrites else ())):
        if one.grade.status in WRONG and one.response.strip():
            wrong.setdefault(_problem(one), []).append(one)
    forms = _Forms(rules, rewrites)
    rows = []
    for problem, better in right.items():
        worse = sorted(wrong.get(problem, []), key=lambda one: _rank(one, forms))
        pairs = _matched(better, worse)
        rows += [_row(*pair, forms) for pair in pairs[: rules.per_prompt or None]]
    return rows


def _matched(
    better: Sequence[tuple[Sampled, dict[str, Any]]], worse: Sequence[Sampled]
) -> list[tuple[Sampled, dict[str, Any], Sampled]]:
    """Each kept answer with the first wrong one that it beats; none is taken twice."""
    left, pairs = list(worse), []
    for chosen, row in better:
        for place, rejected in enumerate(left):
            if chosen.grade.score > rejected.grade.score:
                pairs.append((chosen, row, rejected))
                del left[place]
                break
    return pairs


def facts(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """For data.json. `rewritten`: pairs of which the rules rewrote both sides."""
    return {
        "pairs": len(rows),
        "problems": len({(row["source"], row["question"]) for row in rows}),
        "rewritten": sum("rewritten" in row["from"] for row in rows),
    }


class _Forms:
    """How the two sides of a pair are written."""

    def __init__(self, rules: Rules, rewrites: Rewrites | None) -> None:
        self.rules = rules
        self._raw_rules = rewrites.rules if rewrites else rules
        self._raw = {_name(one): one for one in (rewrites.sampled if rewrites else ())}
        self._by_rules = {_name(one): one for one in (rewrites.by_rules if rewrites else ())}

    def rewritten(self, one: Sampled) -> bool:
        return _name(one) in self._by_rules

    def formless(self, one: Sampled) -> bool:
        """Neither rewritten nor of the form that its text is written in."""
        rules = self._raw_rules if _name(one) in self._raw else self.rules
        return not self.rewritten(one) and parts_of(one, rules) is None

    def texts(self, chosen: Sampled, rejected: Sampled) -> tuple[str, str]:
        """Both by rules, both as they were sampled, or, where nothing was rewritten, as they are."""
        names = (_name(chosen), _name(rejected))
        for table, rules in ((self._by_rules, self.rules), (self._raw, self._raw_rules)):
            if all(name in table for name in names):
                return _text(table[names[0]], rules), _text(table[names[1]], rules)
        return _text(chosen, self.rules), _text(rejected, self.rules)


def _problem(one: Sampled) -> tuple[str, str]:
    return one.prompt.source, one.prompt.id


def _name(one: Sampled) -> Name:
    return one.prompt.source, one.prompt.id, one.policy, one.sample


def _rank(one: Sampled, forms: _Forms) -> tuple[bool, bool, bool, str]:
    """Wrong answers that are whole come first; the others in an order of the seed."""
    identity = (str(forms.rules.seed), *map(str, _name(one)))
    text = "\x1f".join(identity).encode("utf-8", "surrogatepass")
    cut, order = one.stopped == "length", hashlib.sha256(text).hexdigest()
    return cut, not forms.rewritten(one), forms.formless(one), order


def _text(one: Sampled, rules: Rules) -> str:
    parts = parts_of(one, rules)
    if parts is None:
        return one.response.strip()
    return written(*parts, rules.write_think_tag or rules.think_tag)


def _row(chosen: Sampled, row: dict[str, Any], rejected: Sampled, forms: _Forms) -> dict[str, Any]:
    better, worse = forms.texts(chosen, rejected)
    origin: dict[str, Any] = {
        "chosen": chosen.sample,
        "rejected": rejected.sample,
        "policy": chosen.policy,
        "why": rejected.grade.reason,
    }
    if forms.rewritten(chosen) and forms.rewritten(rejected):
        origin["rewritten"] = "rules"
    return {
        "id": f"{row['id']}-{rejected.sample}",
        "question": row["question"],
        "chosen": better,
        "rejected": worse,
        "domain": row["domain"],
        "area": row["area"],
        "source": row["source"],
        "from": origin,
    }

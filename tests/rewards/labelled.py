"""Labelled cases from the files beside this one: what an answer is worth, decided by hand, and why.

# a comment
[category] why the cases below are what they are
+  gold ~ answer ~ why, if the category's reason does not say it
-  gold ~ answer            "+" must be paid, "-" must not
"""

from dataclasses import dataclass
from pathlib import Path

from aha.rewards.grade import grade


@dataclass(frozen=True)
class Case:
    file: str
    category: str
    right: bool
    gold: str
    answer: str
    why: str


def cases(file):
    found, category, why = [], "", ""
    for line in Path(__file__).with_name(f"{file}.txt").read_text("utf-8").split("\n"):
        if line.startswith("["):
            category, _, why = line[1:].partition("]")
        elif line[:2] in ("+ ", "- "):
            gold, answer, *said = line[2:].split(" ~ ")
            answer = answer.replace("⏎", "\n")
            reason = said[0] if said else why.strip()
            found.append(Case(file, category, line[0] == "+", gold, answer, reason))
    return found


def misjudged(kind, listed, place="\\boxed{%s}"):
    """Cases whose verdict is another one, and failures of ours, with what was said."""
    faults = []
    for case in listed:
        verdict = grade(kind, case.gold, "<think>x</think> so " + place % case.answer)
        if (verdict.status == "correct") is not case.right or verdict.failed:
            faults.append((case.gold, case.answer, case.why, verdict.status, verdict.reason))
    return faults

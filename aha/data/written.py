"""Dialogues that people, or other models, have written, through the filters of sampled ones.

    samples(dialogues)              -> what selecting.select decides about
    rows(dialogues, samples, kept)  -> rows of what is kept, with all their turns

Only the last answer is judged and rewritten; earlier turns stay as they are. An answer without thinking
gets an empty thinking part: then all answers of a mixture have one form. So DeepSeek-R1 §2.3.3 takes part of
the supervised data of DeepSeek-V3.

Holds not: reading files (dialogues.py), the rules (selecting.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aha.data.areas import AREAS
from aha.data.dialogues import Dialogue
from aha.data.selecting import Sampled
from aha.records import Grade, Prompt
from aha.rewards.language import target

POLICY = "written"
"""What stands in place of the weights that wrote an answer."""


def samples(dialogues: Sequence[Dialogue]) -> list[Sampled]:
    """The last answers, each to all that was said before; ids that come twice get a number behind them.

    They carry no verdict: `Rules(correct=False, bare=True)` takes them.
    """
    return [
        _sampled(one, name)
        for one, name in zip(dialogues, _names(one.id for one in dialogues), strict=True)
    ]


def rows(
    dialogues: Sequence[Dialogue], given: Sequence[Sampled], kept: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """`kept` (rows of selecting.select) with every turn in its place. `given`: `samples(dialogues)`."""
    said = {one.prompt.id: dialogue for one, dialogue in zip(given, dialogues, strict=True)}
    made = []
    for row in kept:
        name = row["id"].removesuffix("/0")
        turns = said[name].messages
        new = dict(row) | {"id": name, "domain": said[name].domain, "from": {"policy": POLICY}}
        if len(turns) > 2:
            answer = ("assistant", new.pop("response"))
            del new["question"]
            whole = (*turns[:-1], answer)
            new["messages"] = [{"role": role, "content": text} for role, text in whole]
        made.append(new)
    return made


def _sampled(one: Dialogue, name: str) -> Sampled:
    *before, (_, answer) = one.messages
    prompt = Prompt(
        id=name,
        question="\n\n".join(text for _, text in before),
        gold="",
        kind="open",
        source=one.source,
        lang=target(before[-1][1]),
        domain=one.area if one.area in AREAS else one.domain,
        columns={"talk": "translate"} if one.domain == "translation" else {},
    )
    grade = Grade(status="open", score=0.0)
    return Sampled(prompt=prompt, sample=0, text=answer, grade=grade, policy=POLICY)


def _names(ids: Iterable[str]) -> list[str]:
    """Names that are all different, the first of each id as it is."""
    taken: dict[str, None] = {}
    for one in ids:
        name, number = one, 1
        while name in taken:
            number += 1
            name = f"{one}~{number}"
        taken[name] = None
    return list(taken)

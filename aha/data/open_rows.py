"""Prompts that have no right answer (kind `open`): the question of a row, however it is written.

    "How do I thank a colleague?"                           a text
    [{"role": "user", "content": ...}, ...]                 messages; the last one is the user's
    "\\n\\nHuman: ... \\n\\nAssistant: ..."                      a transcript as in HH-RLHF

Of several turns the question is what was said before the last answer, written as reward models read
it: `User: ...`, `Assistant: ...`, `User: ...` with a blank line between (docs/reward_models.md). So
`?kind=open&question=chosen` asks the prompts of a file of preferences.

Holds not: which column it is (`columns.py`), the reading of preferences (`preferences.py`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aha.data import cells
from aha.data.cells import Unusable

GOLDS = ("gold",)
"""Columns that may hold a reference answer, for judges; no row needs one."""
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_NAMES = {"Human": "User", "Assistant": "Assistant", "user": "User", "assistant": "Assistant"}

Turns = list[tuple[str, str]]
"""(User or Assistant, text) in the order spoken."""


def question(asked: Any, column: str) -> str:
    """The question of a row.

    Raises:
        Unusable: no text, no message of the user's at the end, a speaker that is neither.
    """
    if isinstance(asked, (list, tuple)):
        return _joined(_messages(asked, column), column)
    text = cells.text(asked, column)
    if not text.startswith("Human:"):
        return text
    parts = _SPEAKER.split("\n\n" + text)[1:]
    spoken = [
        (_NAMES[who], said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    return _joined(spoken, column)


def _messages(asked: Sequence[Any], column: str) -> Turns:
    turns = []
    for message in asked:
        if not isinstance(message, Mapping) or "role" not in message:
            raise Unusable(column, "a list, but not of messages with role and content")
        role, content = str(message["role"]), message.get("content")
        if role == "system":
            continue
        if role not in _NAMES:
            raise Unusable(column, f"a message of '{role[:20]}'; user and assistant are known")
        turns.append((_NAMES[role], cells.text(content, column) if content else ""))
    return turns


def _joined(turns: Turns, column: str) -> str:
    if turns and turns[-1][0] == "Assistant":
        turns = turns[:-1]  # the answer, or the place for one
    if not turns or turns[-1][0] != "User" or any(not text for _, text in turns):
        raise Unusable(column, "no question of the user's at the end, or a turn that is empty")
    if len(turns) == 1:
        return turns[0][1]
    return "\n\n".join(f"{who}: {text}" for who, text in turns)

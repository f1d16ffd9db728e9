"""Procedural tasks: problems without end, made from a seed, with exact graders.

A problem is a pure function of settings and index; the sha256 of its canonical form puts it on the
training or the held-out side (`split.py`). To add one: a module with a Settings dataclass and an
`item(settings, index)`, a line in TASKS and one in FORMS, a grader for its `kind` among the rewards.
The tasks of reasoning-gym come through `gym.py`.
"""

import json
from collections.abc import Callable

from aha.data.tasks import arithmetic, code_io, countdown, functions, gym, knights, talk
from aha.data.tasks.split import Item, Task, is_heldout, problems
from aha.records import Prompt

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        arithmetic.TASK,
        countdown.TASK,
        knights.TASK,
        functions.TASK,
        code_io.TASK,
        talk.TASK,
    )
}

FORMS: dict[str, Callable[[Prompt], str]] = {
    "arithmetic": lambda prompt: arithmetic.canonical(prompt.columns["expression"]),
    "countdown": lambda prompt: countdown.canonical(**json.loads(prompt.gold)),
    "knights": lambda prompt: knights.canonical(prompt.columns["statements"]),
    "functions": lambda prompt: functions.canonical(prompt.columns["steps"]),
    "code_io": lambda prompt: code_io.canonical(prompt.columns["program"], prompt.columns["name"]),
    "talk": lambda prompt: talk.canonical(prompt.question),
}
"""The canonical form of a task's prompt."""


def canonical(prompt: Prompt) -> str | None:
    """What is the same for every wording of the same problem; None if no task made the prompt."""
    if prompt.source.startswith(gym.PREFIX):
        return gym.canonical(prompt.source, prompt.question)
    form = FORMS.get(prompt.source)
    return form(prompt) if form else None


__all__ = ["TASKS", "Item", "Task", "canonical", "is_heldout", "problems"]

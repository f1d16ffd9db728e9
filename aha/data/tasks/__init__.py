"""Procedural tasks: problems without end, made from a seed, with exact graders.

A problem is a pure function of settings and index; the sha256 of its canonical form puts it on the
training or the held-out side (`split.py`). To add one: a module with a Settings dataclass and an
`item(settings, index)`, a line in TASKS, a grader for its `kind` among the rewards.
"""

from aha.data.tasks import arithmetic, countdown
from aha.data.tasks.split import Item, Task, is_heldout, problems

TASKS: dict[str, Task] = {task.name: task for task in (arithmetic.TASK, countdown.TASK)}

__all__ = ["TASKS", "Item", "Task", "is_heldout", "problems"]

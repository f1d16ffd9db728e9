"""RUN/STAGE/resolved.json: what a stage measured at its first start, and reads ever after.

    {"resolved": {threads, dtype, budgets, ...}, "checkpoint_bytes": bytes, where the stage has checkpoints}

Schedules and the last bits of results depend on these, so that an attempt that goes on must not measure them
again.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from aha import files
from aha.errors import RunError
from aha.train.plan import Plan, Resolved

RESOLVED = "resolved.json"
T = TypeVar("T")


def planned(folder: Path, make: Callable[[], Plan]) -> tuple[Resolved, int]:
    """What the plan resolved, and the bytes of a checkpoint.

    Raises:
        RunError: see `once`.
    """

    def facts() -> dict[str, Any]:
        made = make()
        return {
            "resolved": dataclasses.asdict(made.resolved),
            "checkpoint_bytes": made.checkpoint_bytes,
        }

    return once(
        folder, facts, lambda said: (Resolved(**said["resolved"]), said["checkpoint_bytes"])
    )


def once(
    folder: Path, make: Callable[[], dict[str, Any]], read: Callable[[dict[str, Any]], T]
) -> T:
    """What `read` makes of the stored facts; of those that `make` gives, if there are none yet.

    Raises:
        RunError: they are damaged, or of another version.
    """
    stored = folder / RESOLVED
    if not stored.exists():
        files.write_json(stored, make())
    try:
        return read(json.loads(stored.read_text("utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{stored} is damaged, or of another version of aha ({type(error).__name__}: {error}). It holds "
            "the threads and budgets that were measured at the first start: remove it, and they are measured "
            "again (the stage goes on, with other last bits if they come out otherwise)"
        ) from error

"""Asked to stop: the first Ctrl-C or SIGTERM finishes the step and saves, the second leaves now."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from aha.report.console import Console


@dataclass(slots=True)
class Stop:
    asked: bool = False


@contextlib.contextmanager
def on_signal(stop: Stop, console: Console) -> Iterator[None]:
    """While inside, signals set `stop.asked`; a second one raises KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        console.note("stopping: the step is finished and saved first (again to leave now)")

    try:
        kept = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever started us owns the signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)

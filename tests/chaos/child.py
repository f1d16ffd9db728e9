"""`aha` in a forked child that can be killed at a chosen write.

A parent that has imported everything, but computed nothing, forks one child for each attempt: an
attempt then costs what it computes. With a `Fault` the child counts what it does to the files of
one folder, and kills itself with SIGKILL just before event number `at`.

Events: opening for writing, making, renaming and removing (audit hook), and, around each flush and
rename, what was just before and after. `torn` also cuts the file that was last opened for writing
to half of what it grew by: what a kill inside the write itself leaves.
Not covered: writes of libraries that are not Python (safetensors, tokenizers): they lie between two
events, and inside a folder that is not there yet for any reader.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")


@dataclass(frozen=True)
class Fault:
    folder: Path
    """Only what happens below it counts."""
    at: int = 0
    """Number of the event, from 1; 0 only counts."""
    torn: bool = False
    log: Path | None = None
    """One line an event: number, kind, path below the folder, can it be torn."""


def warm_up() -> None:
    """Import what a run needs. No tensor is made: threads and generators are those of a fresh start."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"
    import safetensors.torch  # noqa: F401
    import torch
    from torch._inductor import config  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig  # noqa: F401
    from transformers.models.llama import modeling_llama  # noqa: F401

    import aha.__main__
    import aha.evals.ask
    import aha.models.load
    import aha.rollout.local.engine
    import aha.stages.launch
    import aha.stages.zero
    import aha.train.loop
    import aha.train.plan
    import aha.train.run
    import aha.train.step  # noqa: F401

    torch.set_num_threads(1)


def fork(what: Callable[[], int], output: Path) -> int:
    """Process id of a child that calls `what`, its output in a file, and exits with its result."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        with output.open("ab") as file, open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8")
        code = what()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def aha(arguments: Sequence[str], *, output: Path, fault: Fault | None = None) -> int:
    """Process id of a child that runs `aha ARGUMENTS`."""

    def run() -> int:
        from aha.__main__ import _run

        sys.argv = ["aha", *arguments]
        if fault is not None:
            install(fault)
        return _run(list(arguments), debug=True)

    return fork(run, output)


def install(fault: Fault) -> None:
    """Count events below the folder from now on; cannot be undone."""
    root = os.path.realpath(fault.folder) + os.sep
    log = os.open(fault.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if fault.log else None
    count = 0
    inside = False
    growing: tuple[str, int] | None = None  # the file opened for writing last, its size then

    def event(kind: str, path: str) -> None:
        nonlocal count, growing
        count += 1
        half = _half(growing)
        if log is not None:
            line = f"{count}\t{kind}\t{path.removeprefix(root)}\t{int(half is not None)}\n"
            os.write(log, line.encode())
        if count == fault.at:
            if fault.torn and growing is not None and half is not None:
                os.truncate(growing[0], half)
            os.kill(os.getpid(), signal.SIGKILL)
        if half is not None:
            growing = None  # what comes after this event knows that the write is over
        if kind == "open":
            size = os.stat(path).st_size if os.path.exists(path) else 0
            growing = (path, size)

    def below(path: Any, at: Any = -1) -> str | None:
        """The absolute path if it lies in the folder."""
        if isinstance(path, int):
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/self/fd/{path}")
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str | os.PathLike):
            return None
        path = os.fspath(path)
        if not os.path.isabs(path):
            base = os.readlink(f"/proc/self/fd/{at}") if isinstance(at, int) and at >= 0 else "."
            path = os.path.join(base, path)
        path = os.path.abspath(path)
        return path if path.startswith(root) or path + os.sep == root else None

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal inside
        if inside or (name != "open" and name not in CHANGES):
            return
        inside = True
        try:
            if name == "open":
                path, _, flags = arguments
                found = below(path) if isinstance(flags, int) and flags & WRITES else None
            elif name == "os.rename":
                found = below(arguments[0], arguments[2])
            else:
                at = arguments[-1] if name in ("os.remove", "os.rmdir", "os.mkdir") else -1
                found = below(arguments[0], at)
            if found is not None:
                event(name.removeprefix("os."), found)
        finally:
            inside = False

    def around(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal inside
            inside = True
            found = below(arguments[0])
            # a rename is announced by the hook, a flush is not
            if found is not None and kind == "fsync":
                event("flush", found)
            inside = False
            result = function(*arguments, **named)
            inside = True
            if found is not None:
                event({"fsync": "flushed", "rename": "renamed"}[kind], found)
            inside = False
            return result

        return wrapped

    os.fsync = around(os.fsync, "fsync")  # type: ignore[assignment]
    os.rename = around(os.rename, "rename")  # type: ignore[assignment]
    os.replace = around(os.replace, "rename")  # type: ignore[assignment]
    sys.addaudithook(hook)


def _half(growing: tuple[str, int] | None) -> int | None:
    """The size to cut the file to, if it grew."""
    if growing is None or not os.path.exists(growing[0]):
        return None
    path, before = growing
    now = os.stat(path).st_size
    return (before + now) // 2 if now > before + 1 else None


def main() -> None:
    """`python -m tests.chaos.child FOLDER AT WORD ...`: one attempt in a process of its own."""
    install(Fault(folder=Path(sys.argv[1]), at=int(sys.argv[2])))
    sys.argv = ["aha", *sys.argv[3:]]
    from aha.__main__ import main as start

    start()


if __name__ == "__main__":
    main()

"""`aha data check` and `aha data inspect` from their options to what they print and write.

Faults are written to a file as they are found and printed from there, so that a source with
millions of them needs no memory for them.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from aha.config import DataConfig
from aha.data import check, inspect
from aha.data.faults import Fault
from aha.errors import ConfigError, DataError
from aha.files import json_line
from aha.report import data_page, data_text

Echo = Callable[[str], object]


def run_check(
    source: str,
    *,
    heldout: str,
    model: str,
    template: str,
    max_prompt_tokens: int,
    max_prompt_chars: int,
    bad: Path | None,
    as_json: bool,
    echo: Echo,
) -> bool:
    """`aha data check`. Returns whether the source is clean.

    Raises:
        ConfigError: a source, key, template or output file that cannot be.
        ModelError: the model cannot be had.
    """
    if not model and template != "r1-zero":
        raise ConfigError(f"--template {template} says nothing without a tokenizer: add --model")
    config = DataConfig(
        train=source, heldout=heldout, template=template, max_prompt_tokens=max_prompt_tokens
    )
    bound = inspect.bind(model, config) if model else None
    with contextlib.ExitStack() as stack:
        faults = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
        rejects = stack.enter_context(_opened(bad)) if bad is not None else None

        def sink(fault: Fault) -> None:
            faults.write(json_line(fault.as_dict()) + "\n")

        def reject(row: dict[str, Any]) -> None:
            assert rejects is not None
            rejects.write(check.reject_line(row) + "\n")

        report = check.check(
            source,
            config,
            template=bound,
            max_chars=max_prompt_chars,
            sink=sink if as_json else None,
            rejects=reject if rejects is not None else None,
        )
        if as_json:
            _echo_json(report, faults, echo)
        else:
            echo("\n".join(data_text.check_lines(report)))
            if bad is not None:
                echo(f"{report.rejected} rejected rows written to {bad}")
    return report.clean


def run_inspect(
    source: str,
    *,
    model: str,
    template: str,
    system: str,
    suffix: str,
    max_prompt_tokens: int,
    n: int,
    html: Path | None,
    as_json: bool,
    echo: Echo,
) -> None:
    """`aha data inspect`.

    Raises:
        ConfigError: a source, key, template or output file that cannot be.
        DataError: there is no row to be shown, and why.
        ModelError: the model cannot be had.
    """
    config = DataConfig(
        train=source,
        template=template,
        system=system,
        suffix=suffix,
        max_prompt_tokens=max_prompt_tokens,
    )
    found = inspect.inspect(source, config, model=model, n=n)
    if html is not None:
        with _opened(html) as file:
            file.write(data_page.page(found))
    if as_json:
        echo(json_line(found.as_dict()))
    else:
        data_text.print_inspection(found)
        if html is not None:
            echo(f"page: {html}")
    if not found.report.read:
        said = data_text.broken_first(found.report, 1)
        raise DataError(f"no row could be read: {said[0] if said else source}")


def _echo_json(report: check.Report, faults: IO[str], echo: Echo) -> None:
    """One JSON object; its last key is the list of all faults, one a line."""
    head = json_line({**report.as_dict(), "clean": report.clean})
    echo(f'{head[:-1]}, "faults": [')
    faults.seek(0)
    waiting = ""
    for line in faults:
        if waiting:
            echo(f"{waiting},")
        waiting = line.rstrip("\n")
    if waiting:
        echo(waiting)
    echo("]}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """A text file to be written.

    Raises:
        ConfigError: it cannot be.
    """
    try:
        file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    with file:
        yield file

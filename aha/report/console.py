"""What the user sees while it runs: a live panel on a terminal, plain lines in a pipe.

Both faces take the same calls. Everything printed here is also in the run folder; a console that
went away (`aha run ... | head`) is silence, never the end of a run.

Model text and names from files are hostile: `clean` takes terminal escapes, control, invisible and
bidirectional characters out, and nothing of it is read as Rich markup.

In a pipe: one line a step, never folded (so that it can be searched and cut by column); facts,
notes, alerts and tables fit 80 columns; nothing is coloured. `NO_COLOR` is honoured on a terminal.
"""

import contextlib
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TextIO

from aha.report.lines import clean, fold, middle_cut, table_lines

Row = Mapping[str, Any]
Cell = tuple[str, str, int]
"""(label, value, width of the value in a pipe) of one column of a step."""

HEARTBEAT_S = 60.0
UNITS = ("tok/s",)  # written after the value
ROWS = 12  # step rows of the live panel
SPARE = ("gap", "ent", "load", "cut", "lr", "kl", "all0/all1", "gnorm")  # dropped on narrow screens


class Face(Protocol):
    """One way of showing a run. Text is clean already."""

    def start(self, title: str, facts: list[str]) -> None: ...
    def step(self, cells: list[Cell], sample: Mapping[str, str] | None) -> None: ...
    def busy(self, text: str) -> None:
        """A sign of life; the face decides whether it is due."""

    def alert(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def lines(self, lines: list[str]) -> None:
        """As they are: never folded."""

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None: ...
    def close(self) -> None: ...


class Console:
    """The console of a run. Use it as a context manager, or call `close` at the end."""

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        face: Literal["auto", "live", "plain"] = "auto",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stream`: None is standard output. auto: live on a terminal that can move the cursor and
        show Unicode."""
        stream = stream or sys.stdout
        if face == "auto":
            able = os.environ.get("TERM", "") != "dumb" and _encoding(stream).startswith("utf")
            face = "live" if able and stream.isatty() else "plain"
        self._face: Face = Live(stream, clock) if face == "live" else Plain(stream, clock)
        self.unicode = face == "live"
        """May block characters be drawn? Not in a pipe: what is searched stays ASCII."""
        self._steps = 0
        self._seconds: deque[float] = deque(maxlen=10)

    def start(self, title: str, facts: list[str], *, steps: int = 0) -> None:
        """A stage begins. `facts`: one line each; `steps`: steps in all, 0 if not known."""
        self._steps = steps
        self._seconds.clear()
        self._face.start(clean(title, lines=False), [clean(fact, lines=False) for fact in facts])

    def step(self, row: Row, sample: Mapping[str, Any] | None = None) -> None:
        """One step is done. `row`: `step` and metrics by their declared names.

        `sample`: one answer of the step, any of `question`, `think`, `answer`, `verdict`, `reward`.
        """
        seconds = _number(row, "time/step_s")
        if seconds is not None:
            self._seconds.append(seconds)
        eta = ""
        if self._steps and self._seconds:
            left = max(0, self._steps - row["step"])
            eta = duration(left * sum(self._seconds) / len(self._seconds))
        shown = None
        if sample is not None:
            shown = {name: clean(str(value)) for name, value in sample.items() if value is not None}
        self._face.step(cells(row, self._steps, eta), shown)

    def heartbeat(self, done: int, total: int, tokens_per_s: float) -> None:
        """Answers finished so far in this phase. Call it often; it speaks only when it is due."""
        self._face.busy(f"sampling: {done}/{total} answers, {tokens_per_s:.0f} tok/s")

    def alert(self, text: str) -> None:
        self._face.alert(clean(text, lines=False))

    def note(self, text: str) -> None:
        self._face.note(clean(text))

    def lines(self, lines: Sequence[str]) -> None:
        """Lines whose columns matter (a curve, a command to paste): they are not folded."""
        self._face.lines([part for line in lines for part in clean(line).split("\n")])

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A small table, e.g. an evaluation before and after. Cells are shown as `str`."""
        self._face.table(
            clean(title, lines=False),
            [clean(name, lines=False) for name in columns],
            [[clean(str(cell), lines=False) for cell in row] for row in rows],
        )

    def close(self) -> None:
        """Leave the terminal as it was. May be called twice."""
        self._face.close()

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Plain:
    """One line a step, for pipes and logs."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last = clock()
        self._gone = False

    def start(self, title: str, facts: list[str]) -> None:
        self._print([*fold(title, ""), *(line for fact in facts for line in fold(fact, "  "))])

    def step(self, cells: list[Cell], sample: Mapping[str, str] | None) -> None:
        parts = []
        for label, value, width in cells:
            value = value.rjust(width)
            parts.append(f"{value} {label}" if label in UNITS else f"{label} {value}")
        self._print([" ".join(parts)])

    def busy(self, text: str) -> None:
        if self._clock() - self._last >= HEARTBEAT_S:
            self._print([f"  {text}"])

    def alert(self, text: str) -> None:
        self._print(fold(f"! {text}", "  ", first=""))

    def note(self, text: str) -> None:
        self._print([line for part in text.split("\n") for line in fold(part, "")])

    def lines(self, lines: list[str]) -> None:
        self._print(lines)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        self._print([*fold(title, ""), *table_lines(columns, rows)])

    def close(self) -> None:
        pass

    def _print(self, lines: list[str]) -> None:
        self._last = self._clock()
        if self._gone:
            return
        encoding = _encoding(self._stream)
        text = "".join(line + "\n" for line in lines)
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._gone = _reader_gone(self._stream, error)


class Live:
    """A panel that is redrawn in place: steps, one answer, alerts."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        from rich.console import Console as RichConsole

        class Quiet(RichConsole):
            def on_broken_pipe(self) -> None:  # Rich would end the program
                raise BrokenPipeError

        self._stream = stream
        self._console = Quiet(file=stream, force_terminal=True, highlight=False)
        self._clock = clock
        self._live: Any = None
        self._title = ""
        self._facts: list[str] = []
        self._rows: deque[list[Cell]] = deque(maxlen=ROWS)
        self._alerts: deque[str] = deque(maxlen=3)
        self._sample: Mapping[str, str] | None = None
        self._busy = ""
        self._drawn = -math.inf
        self._gone = False

    def start(self, title: str, facts: list[str]) -> None:
        from rich.live import Live as RichLive

        self.close()  # the panel of the stage before stays above
        self._title, self._facts, self._sample, self._busy = title, facts, None, ""
        self._rows.clear()
        self._alerts.clear()
        self._live = RichLive(console=self._console, auto_refresh=False)
        self._safely(self._live.start)
        if self._gone:
            self._live = None  # it did not start, so it cannot be stopped
        self._draw()

    def step(self, cells: list[Cell], sample: Mapping[str, str] | None) -> None:
        self._rows.append(cells)
        self._sample = sample or self._sample
        self._busy = ""
        self._draw()

    def busy(self, text: str) -> None:
        self._busy = text
        if self._clock() - self._drawn >= 0.25:
            self._draw()

    def alert(self, text: str) -> None:
        self._alerts.append(text)
        if self._live is None:
            self._out(self._styled(f"! {text}", "bold yellow"))
        else:
            self._draw()

    def note(self, text: str) -> None:
        self._out(self._styled(text))

    def lines(self, lines: list[str]) -> None:
        text = self._styled("\n".join(lines))
        self._safely(lambda: self._console.print(text, soft_wrap=True))

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        from rich import box
        from rich.table import Table

        table = Table(  # no wider than `table_lines`: two columns between cells, no edge
            title=self._styled(title, "bold"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for i, name in enumerate(columns):
            table.add_column(self._styled(name), justify="right" if i else "left")
        for row in rows:
            table.add_row(*(self._styled(cell) for cell in row))
        self._out(table)

    def close(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            self._console.quiet = self._gone
            self._safely(live.stop, always=True)  # it also gives sys.stdout back

    def _draw(self) -> None:
        self._drawn = self._clock()
        if self._live is not None:
            self._safely(lambda: self._live.update(self._panel(), refresh=True))

    def _panel(self) -> Any:
        """Most important first: a terminal that is too short loses the bottom."""
        from rich.console import Group
        from rich.panel import Panel

        parts: list[Any] = [self._styled(fact, "dim") for fact in self._facts[:6]]
        if self._rows:
            parts += [self._styled(""), self._table()]
        parts += [self._styled(f"! {text}", "bold yellow") for text in self._alerts]
        if self._busy:
            parts.append(self._styled(self._busy, "dim"))
        if self._sample:
            parts += [self._styled(""), *self._answer(self._sample)]
        return Panel(Group(*parts), title=self._styled(self._title, "bold"), title_align="left")

    def _table(self) -> Any:
        from rich.table import Table

        rows = list(self._rows)[-max(3, self._console.height - 18) :]
        wide: dict[str, int] = {}
        for row in rows:
            for label, value, _ in row:
                wide[label] = max(wide.get(label, len(label)), len(value))
        for label in SPARE:
            if sum(wide.values()) + 2 * len(wide) > self._console.width - 4:
                wide.pop(label, None)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for label in wide:
            table.add_column(self._styled(label, "dim"), justify="right", no_wrap=True)
        for row in rows:
            values = {label: value for label, value, _ in row}
            table.add_row(*(self._styled(values.get(label, "")) for label in wide))
        return table

    def _answer(self, sample: Mapping[str, str]) -> list[Any]:
        """One answer: question, thinking dimmed, answer bright. Cut to a few lines."""
        width = max(40, self._console.width - 6)
        shown = []
        for name, lines, style in (("question", 2, ""), ("think", 6, "dim"), ("answer", 3, "bold")):
            text = sample.get(name, "")
            if text.strip():
                shown.append(self._styled(middle_cut(text.strip(), lines, width), style))
        verdict = [f"{n} {sample[n]}" for n in ("verdict", "reward") if sample.get(n)]
        if verdict:
            shown.append(self._styled(", ".join(verdict), "cyan"))
        return shown

    def _styled(self, text: str, style: str = "") -> Any:
        from rich.text import Text

        return Text(text, style=style)  # a Text is never parsed for markup

    def _out(self, renderable: Any) -> None:
        self._safely(lambda: self._console.print(renderable))

    def _safely(self, do: Callable[[], Any], *, always: bool = False) -> None:
        if self._gone and not always:
            return
        try:
            do()
        except (OSError, ValueError) as error:
            self._gone = _reader_gone(self._stream, error)


def cells(row: Row, steps: int, eta: str) -> list[Cell]:
    """The columns of a step, of RL or of pretraining; "-" where the row has no value."""
    number = f"{row['step']}/{steps}" if steps else f"{row['step']}"
    shown = [("step", number, 2 * len(str(steps)) + 1 if steps else 1)]
    if "pretrain/loss" in row:
        shown += [
            ("loss", _show(row, "pretrain/loss", ".3f"), 6),
            ("lr", _show(row, "optim/lr", ".1e"), 7),
            ("gnorm", _show(row, "optim/grad_norm", ".2f"), 5),
            ("load", _show(row, "pretrain/expert_load/max", ".2f"), 4),
            ("tok/s", _show(row, "rate/update_tokens_per_s", ".0f"), 5),
        ]
    elif kind := next((kind for kind in ("sft", "dpo", "rm") if f"{kind}/loss" in row), ""):
        shown += [
            ("loss", _show(row, f"{kind}/loss", ".3f"), 6),
            *([("acc", _show(row, f"{kind}/accuracy", ".2f"), 4)] if kind != "sft" else []),
            ("held-out", _show(row, f"{kind}/heldout/loss", ".3f"), 6),
            ("lr", _show(row, "optim/lr", ".1e"), 7),
            ("gnorm", _show(row, "optim/grad_norm", ".2f"), 5),
            ("epoch", _show(row, "data/epoch", ".0f"), 3),
            ("tok/s", _show(row, "rate/update_tokens_per_s", ".0f"), 5),
        ]
    else:
        flat = (_percent(row, "group/all_wrong/share"), _percent(row, "group/all_right/share"))
        tokens, p95 = (
            _show(row, "rollout/tokens/mean", ".0f"),
            _show(row, "rollout/tokens/p95", ".0f"),
        )
        shown += [
            ("reward", _show(row, "reward/mean", ".2f"), 5),
            ("acc", _show(row, "reward/accuracy/mean", ".2f"), 4),
            ("fmt", _show(row, "reward/format/mean", ".2f"), 4),
            ("len", f"{tokens}(p95 {p95})", 12),
            ("cut", _percent(row, "rollout/cut/share") + "%", 4),
            ("all0/all1", f"{flat[0]}/{flat[1]}%", 6),
            ("kl", _show(row, "policy/kl/mean", ".3f"), 5),
            ("ent", _show(row, "policy/entropy/mean", ".2f"), 4),
            ("gap", _show(row, "policy/gap/mean", ".0e"), 5),
            ("tok/s", _show(row, "rate/rollout_tokens_per_s", ".0f"), 4),
        ]
    shown.append(("eta", eta or "-", 6))
    if _number(row, "heldout/pass_at_1") is not None:
        value, low, high = (
            _percent(row, f"heldout/pass_at_1{end}") for end in ("", "_low", "_high")
        )
        shown.append(("held-out", f"{value}% [{low},{high}]", 1))
    return shown


def duration(seconds: float) -> str:
    """281 -> 4m41s; the two largest units."""
    whole = max(0, round(seconds))
    for unit, size, below, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02d}{below}"
    return f"{whole}s"


def _encoding(stream: TextIO) -> str:
    return (getattr(stream, "encoding", None) or "utf-8").lower()


def _reader_gone(stream: TextIO, error: Exception) -> bool:
    """True if writing failed because nobody reads any more; else raises `error` again."""
    if isinstance(error, ValueError) and not stream.closed:
        raise error
    if stream in (sys.stdout, sys.__stdout__) and not stream.closed:
        with contextlib.suppress(OSError):  # what is still buffered must not fail at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return True


def _number(row: Row, name: str) -> float | None:
    value: Any = row.get(name)
    good = isinstance(value, (int, float)) and math.isfinite(value)
    return float(value) if good else None


def _show(row: Row, name: str, form: str) -> str:
    value = _number(row, name)
    return "-" if value is None else format(value, form)


def _percent(row: Row, name: str) -> str:
    value = _number(row, name)
    return "-" if value is None else f"{100 * value:.0f}"

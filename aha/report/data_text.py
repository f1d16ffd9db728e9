"""What `aha data check` and `aha data inspect` print: plain lines, and tokens in colour.

On a terminal, prompt tokens are shaded and trained ones green; in a pipe, or with NO_COLOR, they are
told apart by `.` and `+` at the beginning of a line, and `|` stands between tokens. Text from the data
passes `clean` once, and none of it is read as Rich markup.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from aha.data.check import Report
from aha.data.faults import Fault, Level
from aha.data.inspect import Inspection, Shown, Token
from aha.data.spread import Spread, spread
from aha.report.lines import clean, fold, width_of

LEVELS: tuple[tuple[Level, str], ...] = (
    ("file", "files that cannot be read, or not to their end"),
    ("rejected", "rejected: a run would not use these rows"),
    ("warning", "warnings: a run would use these rows; look at them"),
)
WIDTH = 100
BARS = "▁▂▃▄▅▆▇█"
TOKENS = 400
"""Tokens of one row that are shown; --json has all of them."""


def check_lines(report: Report) -> list[str]:
    """The report of `aha data check`."""
    lines: list[str] = []
    for split in report.splits:
        roles = ", ".join(f"{role} from '{name}'" for role, name in split.mapping.items())
        said = (
            f"{split.source} ({split.name}): {split.read} read = {split.kept} kept + "
            f"{split.rejected} rejected{f'; {roles}' if roles else ''}"
        )
        lines += _folded("; ".join([said, *split.notes]), "  ", first="")
    for level, title in LEVELS:
        kinds = [(kind, n) for (found, kind), n in report.tally.counts.items() if found == level]
        if kinds:
            lines += ["", title]
        for kind, count in sorted(kinds, key=lambda each: (-each[1], each[0])):
            lines += _kind(kind, count, report.tally.first[level, kind])
    lines += ["", *_verdict(report)]
    return lines if lines[0] else lines[1:]


def _kind(kind: str, count: int, first: Sequence[Fault]) -> Iterator[str]:
    yield f"  {kind:<20} {count:>7}"
    for fault in first:
        yield from _folded(str(fault), "        ", first="      ")
    if count > len(first):
        yield f"      ... and {count - len(first)} more (--json lists all)"


def _verdict(report: Report) -> Iterator[str]:
    tally = report.tally
    yield f"read {report.read} = kept {report.kept} + rejected {report.rejected}"
    if report.golds_checked:
        right = report.golds_checked - report.golds_failed
        yield f"golds that the grader reads and accepts: {right} of {report.golds_checked}"
    if not report.leaks_looked_for:
        yield "no held-out part was given: leaks were not looked for (--heldout SOURCE)"
    yield (
        f"{'clean' if report.clean else 'NOT clean'}: {tally.total('file')} files with faults, "
        f"{tally.total('rejected')} rows rejected, {tally.total('warning')} warnings"
    )


def summary(report: Report, most: int) -> list[tuple[str, str]]:
    """(name, value) of what is to be said of a whole source; `most`: tokens of a prompt."""
    warned = report.tally.counts
    twice = warned["warning", "duplicate question"] + warned["warning", "contradiction"]
    lines = [("rows", f"{report.read} read = {report.kept} kept + {report.rejected} rejected")]
    for name, found in (("characters", report.chars), ("tokens", report.tokens)):
        if shown := spread(found):
            lines.append((name, spread_text(shown)))
    if report.tokens:
        share = sum(tokens > most for tokens in report.tokens) / len(report.tokens)
        lines.append(("too long", f"{report.too_long} above {most} tokens ({share:.1%})"))
    lines.append(("asked twice", f"{twice}, of these {_contradict(report)} with another gold"))
    if report.golds_checked:
        share = 1 - report.golds_failed / report.golds_checked
        lines.append(("golds read", f"{share:.1%} of {report.golds_checked}"))
    lines.append(("declared", _counted(report.declared.most_common())))
    lines.append(("scripts", _counted(report.scripts.most_common())))
    lines.append(("domains", _counted(report.domains.most_common())))
    return lines


def _contradict(report: Report) -> int:
    return report.tally.counts["warning", "contradiction"]


def spread_text(found: Spread) -> str:
    return (
        f"min {found['min']}  median {found['median']}  p95 {found['p95']}  max {found['max']}  "
        f"{bars(found['histogram'])}"
    )


def bars(counts: Sequence[int]) -> str:
    """A histogram in one line; what occurs at all is never a space."""
    top = max(counts, default=0)
    return "".join(
        " " if not count else BARS[min(len(BARS) - 1, count * len(BARS) // (top + 1))]
        for count in counts
    )


def _counted(counts: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{clean(name, lines=False)[:30]} {count}" for name, count in counts[:8])
    return f"{shown}, ... ({len(counts)} in all)" if len(counts) > 8 else shown or "none"


def broken_first(report: Report, most: int = 8) -> list[str]:
    """The first files and rows that cannot be used."""
    shown = [
        fault
        for level in ("file", "rejected")
        for (found, _), faults in report.tally.first.items()
        if found == level
        for fault in faults
    ]
    return [clean(str(fault), lines=False) for fault in shown[:most]]


def print_inspection(found: Inspection, stream: TextIO | None = None) -> None:
    """All of an inspection, in colour where that can be seen."""
    from rich.console import Console

    stream = stream or sys.stdout
    colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=not colour)
    say = console.print
    say(f"model {clean(found.model)} · template {clean(found.template)} ({found.hash})")
    for note in found.notes:
        for line in _folded(note, "  ", first="! "):
            say(line)
    _legend(found, console, colour=colour)
    for row in found.rows:
        say("")
        _row(row, console, colour=colour)
    if not found.rows:
        say("no row can be shown")
    say("")
    for name, value in summary(found.report, found.max_prompt_tokens):
        say(f"{name:<12} {value}")
    if broken := broken_first(found.report):
        say("first broken:")
    for text in broken:
        for line in _folded(text, "    ", first="  "):
            say(line)


def _legend(found: Inspection, console: Any, *, colour: bool) -> None:
    ends = ", ".join(clean(end) for end in [*found.ends, *map(repr, found.stops)]) or "the cap"
    if colour:
        from rich.text import Text

        legend = Text("legend: ")
        for words, style in zip((" prompt,", " not trained ", " trained "), STYLES, strict=False):
            legend.append(words, style=style)
        console.print(legend.append(f"  an answer ends at {ends}"))
    else:
        console.print("legend: . prompt, not trained   + trained   | between tokens")
        console.print(f"        an answer ends at {ends}")


STYLES = ("black on grey85", "black on grey70", "black on green3", "black on spring_green2")
"""Two shades of the prompt, two of what is trained: neighbours differ."""


def _row(row: Shown, console: Any, *, colour: bool) -> None:
    console.print(f"{clean(row.place)}  id {clean(row.id)}  kind {clean(row.kind)}")
    if row.rejected:
        console.print(f"  REJECTED: {clean(row.rejected, lines=False)}")
    for name, text in (("question", row.question), ("gold", row.gold)):
        for line in _folded(text, " " * 12, first=f"  {name:<9} "):
            console.print(line)
    prompt = [token for token in row.tokens if not token.trained]
    trained = [token for token in row.tokens if token.trained]
    for mark, tokens in ((".", prompt), ("+", trained)):
        if tokens:
            said = "prompt, not trained" if mark == "." else f"trained ({row.worked})"
            console.print(f"  {said}: {len(tokens)} tokens")
            _print_tokens(tokens[:TOKENS], mark, console, colour=colour)
            ids = " ".join(str(token.id) for token in tokens[:TOKENS])
            for line in fold(ids, "      ", first="  ids ", width=WIDTH):
                console.print(line)
        if len(tokens) > TOKENS:
            console.print(f"  ... and {len(tokens) - TOKENS} more tokens (--json has all)")
    if row.tokens and not trained:
        console.print("  + trained: what the model writes here, its end token included")


def _print_tokens(tokens: Sequence[Token], mark: str, console: Any, *, colour: bool) -> None:
    if colour:
        from rich.text import Text

        shaded = Text("  ")
        for place, token in enumerate(tokens):
            shaded.append(seen(token.text), style=STYLES[2 * token.trained + place % 2])
        console.print(shaded)
        return
    for line in _token_lines([seen(token.text) for token in tokens]):
        console.print(f"  {mark} {line}")


def _token_lines(texts: Sequence[str]) -> Iterator[str]:
    """Tokens with `|` between them; no token is broken unless it is longer than a line."""
    line, used = "", 0
    for text in texts:
        size = width_of(text) + 1
        if line and used + size > WIDTH - 4:
            yield line
            line, used = "", 0
        line, used = f"{line}|{text}", used + size
    if line:
        yield f"{line}|"


def seen(text: str) -> str:
    """A token's text with its line breaks visible, and harmless; `␣` for one of spaces alone, `·` for
    one that shows nothing."""
    for sign, shown in (("\r", "␍"), ("\n", "⏎"), ("\t", "→")):
        text = text.replace(sign, shown)
    text = clean(text).replace("\n", "⏎") or "·"
    return "␣" * len(text) if text.isspace() else text


def _folded(text: str, indent: str, *, first: str) -> list[str]:
    return fold(clean(text, lines=False), indent, first=first, width=WIDTH)

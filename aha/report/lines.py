"""Text for a terminal: made harmless, and made to fit.

Model text can hold escape sequences that colour, hide or move what was printed before, and
characters that reorder a line. `clean` takes them out; every text from outside passes it once,
where it enters the console. The page escapes its HTML itself.

Not covered: letters that look alike (Cyrillic а), and piles of combining marks.
"""

import re
import unicodedata

WIDTH = 80

_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"  # CSI: colours, cursor
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]{0,256}(?:\x07|\x1b\\\\|\x9c)"  # OSC
    "|\x1b[ -/]{0,8}[0-~]"  # the short ones
)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str, *, lines: bool = True) -> str:
    """Text that cannot move the cursor, colour, hide or reorder anything. Linear.

    Terminal escape sequences, control characters, bidirectional and invisible characters go;
    lone surrogates become U+FFFD; tabs become a space. `lines=False` also joins the lines.
    """
    text = _SURROGATE.sub("\ufffd", _UNSEEN.sub("", _ESCAPES.sub("", text)))
    text = text.replace("\t", " ").replace("\u2028", "\n").replace("\u2029", "\n")
    return text if lines else " ".join(text.split())


def width_of(text: str) -> int:
    """Columns on a terminal: Chinese characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def fold(text: str, indent: str, *, first: str | None = None, width: int = WIDTH) -> list[str]:
    """Lines of at most `width` columns, broken at spaces where there are any.

    `indent` begins each line; `first` the first one instead.
    """
    lines: list[str] = []
    line = indent if first is None else first
    used, empty = width_of(line), True
    for word in text.split(" "):
        size = width_of(word)
        if not empty and used + 1 + size > width:
            lines.append(line)
            line, used, empty = indent, width_of(indent), True
        if not empty:
            line, used = line + " ", used + 1
        for piece in [word] if used + size <= width else word:  # a word that never fits: by letter
            step = width_of(piece)
            if used + step > width and not empty:
                lines.append(line)
                line, used = indent, width_of(indent)
            line, used, empty = line + piece, used + step, False
        empty = False
    return [*lines, line]


def middle_cut(text: str, lines: int, width: int) -> str:
    """The beginning and the end of a long text, in about `lines` lines of `width` columns."""
    room = lines * width
    if len(text) > room:
        text = f"{text[: room // 2]} ... {text[len(text) - room // 2 :]}"
    parts = [part for part in text.split("\n") if part.strip()]
    if len(parts) > lines:
        head = (lines + 1) // 2
        parts = [*parts[:head], *parts[len(parts) - (lines - head) :]]
    return "\n".join(parts)


def table_lines(columns: list[str], rows: list[list[str]], width: int = WIDTH) -> list[str]:
    """A table in plain text: first column left, the others right; wide cells are folded.

    More than about eight columns may need more than `width`.
    """
    everything = [columns, *rows]
    wide = [min(width, max(width_of(row[i]) for row in everything)) for i in range(len(columns))]
    while sum(wide) + 2 * (len(wide) - 1) > width and max(wide) > 8:
        wide[wide.index(max(wide))] -= 1
    lines = []
    for row in [columns, ["-" * w for w in wide], *rows]:
        folded = [fold(cell, "", width=w) for cell, w in zip(row, wide, strict=True)]
        for i in range(max(map(len, folded))):
            parts = []
            for j, cell in enumerate(folded):
                text = cell[i] if i < len(cell) else ""
                pad = " " * (wide[j] - width_of(text))
                parts.append(pad + text if j else text + pad)
            lines.append("  ".join(parts).rstrip())
    return lines

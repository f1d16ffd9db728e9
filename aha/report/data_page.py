"""`aha data inspect --html`: one page that needs nothing else.

No script, no font, no address: a policy in the page forbids them. Every text is escaped, and control
and reordering characters are taken out; light and dark follow the reader's setting. What is prompt
and what is trained is told by colour and by a line under the token, with ids below the tokens.
"""

from collections.abc import Iterator
from html import escape

from aha.data.inspect import Inspection, Shown, Token
from aha.report.data_text import LEVELS, seen, summary
from aha.report.lines import clean

TOKENS = 2000
"""Tokens of one row that are shown."""

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbf9; --ink: #1c1d1f; --soft: #62666d; --line: #d9d9d4;
  --p1: #ececea; --p2: #dfe0de; --t1: #cdeed4; --t2: #b3e2bf; --edge: #1f8a43; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #17181a; --ink: #e6e6e3; --soft: #9a9ea6;
  --line: #36383c; --p1: #26282b; --p2: #303338; --t1: #173d24; --t2: #1f5030; --edge: #58c47a;
  --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 62rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; font-weight: 600; }
.soft { color: var(--soft); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: .4rem 0; }
dt { color: var(--soft); } dd { margin: 0; white-space: pre-wrap; }
.tokens { display: flex; flex-wrap: wrap; gap: .3rem 1px; margin: .3rem 0; }
.tokens span, .legend span { display: inline-flex; flex-direction: column; padding: .1rem .15rem 0;
  background: var(--p1); border-bottom: 2px dotted var(--soft); white-space: pre-wrap;
  font: .85rem/1.35 ui-monospace, monospace; min-width: .7rem; }
.tokens span:nth-child(even) { background: var(--p2); }
.tokens.trained span, .legend span.trained { background: var(--t1);
  border-bottom: 2px solid var(--edge); }
.tokens.trained span:nth-child(even) { background: var(--t2); }
.tokens i, .legend i { font: .65rem/1.3 ui-monospace, monospace; color: var(--soft); font-style: normal; }
.legend { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top;
  padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
td.n { text-align: right; white-space: nowrap; }
pre { white-space: pre-wrap; background: var(--p1); padding: .6rem .8rem; margin: .3rem 0;
  font: .85rem/1.45 ui-monospace, monospace; }
.bins { display: inline-flex; align-items: flex-end; height: 1.6rem; gap: 1px; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 .4rem; }
  td.n { text-align: left; } td, th { display: block; border: 0; padding: 0; }
  tr { display: block; border-bottom: 1px solid var(--line); padding: .4rem 0; } }
"""


def page(found: Inspection) -> str:
    """The whole page as text."""
    return "\n".join(_parts(found)) + "\n"


def _parts(found: Inspection) -> Iterator[str]:
    title = f"Data: {found.report.source}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield (
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    )
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>{_text(title)}</h1>"
    template = f"template {found.template} ({found.hash})"
    yield f'<p class="soft">model {_text(found.model)} · {_text(template)}</p>'
    for note in found.notes:
        yield f"<p>Note: {_text(note)}</p>"
    ends = ", ".join([*found.ends, *(repr(stop) for stop in found.stops)]) or "the cap"
    yield (
        '<p class="legend"><span>prompt, not trained</span><span class="trained">trained</span>'
        f'<span class="trained">text<i>token id</i></span> An answer ends at {_text(ends)}.</p>'
    )
    for row in found.rows:
        yield from _row(row)
    if not found.rows:
        yield "<p>No row can be shown.</p>"
    yield "<h2>The whole source</h2>\n<dl>"
    for name, value in summary(found.report, found.max_prompt_tokens):
        yield f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>"
    yield "</dl>"
    yield from _faults(found)
    yield "</body>\n</html>"


def _row(row: Shown) -> Iterator[str]:
    yield f"<h2>{_text(row.place)}</h2>"
    if row.rejected:
        yield f'<p class="bad">Rejected: {_text(row.rejected)}</p>'
    yield "<dl>"
    for name, value in (
        ("question", row.question), ("gold", row.gold), ("kind", row.kind), ("id", row.id)
    ):  # fmt: skip
        if value:
            yield f"<dt>{name}</dt><dd>{_text(value)}</dd>"
    yield "</dl>"
    prompt = [token for token in row.tokens if not token.trained]
    trained = [token for token in row.tokens if token.trained]
    if row.text:
        yield f"<h3>Prompt as text</h3><pre>{_text(row.text)}</pre>"
    if prompt:
        yield f"<h3>Prompt, not trained: {len(prompt)} tokens</h3>"
        yield from _tokens(prompt, "")
    if trained:
        yield f"<h3>Trained: {len(trained)} tokens ({_text(row.worked)})</h3>"
        yield from _tokens(trained, " trained")
    elif prompt:
        yield "<h3>Trained: what the model writes here, its end token included</h3>"


def _tokens(tokens: list[Token], kind: str) -> Iterator[str]:
    yield f'<div class="tokens{kind}">'
    yield "".join(
        f"<span>{escape(seen(token.text))}<i>{token.id}</i></span>" for token in tokens[:TOKENS]
    )
    yield "</div>"
    if len(tokens) > TOKENS:
        yield f"<p>... and {len(tokens) - TOKENS} more tokens</p>"


def _faults(found: Inspection) -> Iterator[str]:
    tally = found.report.tally
    for level, title in LEVELS:
        kinds = [(kind, n) for (at, kind), n in tally.counts.items() if at == level]
        if not kinds:
            continue
        yield f"<h2>{_text(title.capitalize())}</h2>\n<table>"
        for kind, count in sorted(kinds, key=lambda each: (-each[1], each[0])):
            first = "<br>".join(_text(str(fault)) for fault in tally.first[level, kind])
            yield f'<tr><td>{_text(kind)}</td><td class="n">{count}</td><td>{first}</td></tr>'
        yield "</table>"


def _text(text: str) -> str:
    return escape(clean(text))

"""The page: one file, offline, that shows model output and runs none of it.

What a model, a data set or a recipe brought is escaped on its way in (escape.py): as HTML in what is
written here, as JSON in the one data block that page.js reads; page.js makes text nodes only. The policy
in the page allows this style and this script by their hashes, data: images and nothing else: no address,
no handler in an attribute, no style attribute, no eval, no HTML made from text at run time.

Without a script the page still has everything but the browser of answers.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aha import files
from aha.errors import RunError
from aha.report.lines import clean
from aha.report.page import draw, sections
from aha.report.page.escape import embedded, text
from aha.report.page.gather import gather
from aha.report.page.lineage import Stage
from aha.report.page.measures import BASE, base_of
from aha.report.page.read import string
from aha.report.page.sections import shortened, utc

MOST_BYTES = 10_000_000
"""Of a page."""
TEXT_BYTES = 8_000_000
"""Of answers in it, at first; halved until the page is small enough."""
MOST_RUNS = 4
HERE = Path(__file__).parent


def report(runs: Sequence[Path], out: Path) -> None:
    """Write the page of one run, or of two to four side by side, to `out`.

    Raises:
        RunError: not one to four run folders, or `out` cannot be written.
    """
    if not 1 <= len(runs) <= MOST_RUNS:
        raise RunError(f"{len(runs)} runs: a page shows one run, or compares two to {MOST_RUNS}")
    budget = TEXT_BYTES
    while True:
        page = render([gather(Path(run), budget // len(runs)) for run in runs])
        if len(page.encode()) <= MOST_BYTES or not budget:
            break
        budget = budget // 2 if budget > 100_000 else 0
    files.write_text(out, page)


def render(runs: Sequence[dict[str, Any]]) -> str:
    """The page of runs as gather.py has them."""
    for at, run in enumerate(runs):
        run["label"] = _label(runs, at)
    return "".join(_parts(runs))


def policy(style: str, script: str) -> str:
    """The content security policy for a style and a script."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _label(runs: Sequence[Mapping[str, Any]], at: int) -> str:
    """The folder's name; with a number behind it if others have the same."""
    same = [i for i, run in enumerate(runs) if run["folder"] == runs[at]["folder"]]
    return runs[at]["folder"] + (f" ({same.index(at) + 1})" if len(same) > 1 else "")


def _parts(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    style = (HERE / "page.css").read_text("utf-8")
    script = (HERE / "page.js").read_text("utf-8")
    title = "Runs: " + ", ".join(run["label"] for run in runs)
    if len(runs) == 1:
        title = f"Run: {runs[0]['label']}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield (
        f'<meta http-equiv="Content-Security-Policy" content="{policy(style, script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
    )
    yield f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
    yield f"<header><h1>{text(title)}</h1>{_nav(runs)}</header>\n<main>\n"
    for run in runs:
        yield from _head(run, alone=len(runs) == 1)
    yield from sections.stages(runs)
    yield from sections.alerts(runs)
    yield from sections.measures(runs)
    yield from sections.curves(runs)
    yield from sections.browser(runs)
    yield from sections.ledger(runs)
    yield from sections.events(runs)
    yield from sections.settings(runs)
    yield "</main>\n"
    yield f'<script type="application/json" id="found">{embedded(_data(runs))}</script>\n'
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def _nav(runs: Sequence[Mapping[str, Any]]) -> str:
    places = ["stages"] if any(run["measured"] for run in runs) else []
    places += ["alerts", "measures", "curves", "answers", "data", "events", "settings"]
    links = "".join(f'<a href="#{place}">{place}</a>' for place in places)
    return f'<nav>{links}<button type="button" id="theme">light / dark</button></nav>'


# -- what it is --------------------------------------------------------------------------------------------


def _head(run: Mapping[str, Any], *, alone: bool) -> Iterator[str]:
    said = {
        "done": "done",
        "failed": "ended with an error",
        "stopped": "stopped by the user",
        "unfinished": "not finished: killed, or still running",
    }[run["state"]]
    recipe, env = run["recipe"], run["env"]
    model = recipe.get("model", {})
    facts = [
        ("state", f"{said} (attempt {run['attempts']})" if run["attempts"] > 1 else said),
        ("error" if run["state"] == "failed" else "ended", run["ended"]),
        ("model", string(model.get("path")) if isinstance(model, dict) else ""),
        ("seed", string(recipe.get("seed"))),
        ("from", utc(run["times"][0]) if run["times"] else ""),
        ("last written", utc(run["times"][-1]) if run["times"] else ""),
        (
            "machine",
            f"{string(env.get('platform'))}, {string(env.get('cores'))} cores" if env else "",
        ),
        (
            "made by",
            f"aha {string(env.get('aha'))} {string(env.get('commit'))[:12]}" if env else "",
        ),
    ]
    yield '<section class="run">'
    if not alone:
        yield f"<h2>{text(run['label'])}</h2>"
    yield '<dl class="facts">'
    for name, value in facts:
        if value:
            bad = ' class="bad"' if name == "error" else ""
            yield f"<div><dt>{name}</dt><dd{bad}>{text(shortened(value))}</dd></div>"
    yield "</dl>"
    for note in run["notes"][:30]:
        yield f'<p class="note">{text(note)}</p>'
    yield draw.ribbon([_node(stage, run) for stage in run["stages"]])
    yield "</section>\n"


def _node(stage: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[Stage, str, str, str]:
    rows = stage["rows"]
    held = [row["heldout/pass_at_1"] for row in rows if "heldout/pass_at_1" in row]
    line = ""
    if held:
        line = " → ".join(f"{100 * value:.0f}" for value in dict.fromkeys((held[0], held[-1])))
        line = f"pass@1 {line} %"
    elif rows:
        line = f"{int(rows[-1]['step'])} steps"
    node = Stage(stage["name"], stage["kind"], tuple(stage["parents"]), stage["depth"], {})
    return node, stage["state"], line, "measures"


def _data(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What page.js reads."""
    return {
        "runs": [
            {
                "label": text_only(run["label"]),
                "stages": [
                    {"name": text_only(name), "groups": groups} for name, groups in _answered(run)
                ],
            }
            for run in runs
        ]
    }


def _answered(run: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Models with their answers, in the order of the stages, each after the model that it starts from."""
    bases = run["bases"]
    yield from ((name, bases[name]) for name in (BASE,) if name in bases)
    for stage in run["stages"]:
        before = base_of(stage["name"])
        yield from ((name, bases[name]) for name in (before,) if name in bases)
        yield stage["name"], stage["groups"]


def text_only(value: str) -> str:
    """A name without control and reordering characters, on one line."""
    return clean(value, lines=False)

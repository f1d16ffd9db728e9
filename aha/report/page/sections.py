"""The sections of the page below its head: stages, alerts, measures, curves, answers, data, events, settings.

Each is HTML from runs as gather.py has them; every text from outside passes `text` once.

Holds not: the frame, the policy, the data block (html.py), drawing (draw.py), cells (tables.py).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from aha.report.page import curves as lines
from aha.report.page import draw, tables
from aha.report.page import measures as measured
from aha.report.page.escape import text
from aha.report.page.read import number, string

MOST_ALERTS = 300
MOST_FACTS = 300
"""Rows of one file of facts."""
CELL = 600
"""Characters of a fact that are shown."""


def utc(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return ""


def shortened(value: str) -> str:
    return value if len(value) <= CELL else value[:CELL] + "…"


def stages(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The stage x measure table, where the recipe asked for one."""
    columns = [[column] for run in runs for column in run["measured"]]
    if not columns:
        return
    yield '<section id="stages"><h2>What each stage did</h2>'
    yield (
        '<p class="soft">Every model on the same held-out prompts. A cell says how sure it is when the '
        "pointer rests on it; the data table below has all intervals. Bold: it differs from the model that "
        "it is compared with (the 95 % interval of the paired difference).</p>"
    )
    yield '<div class="scroll"><table class="stages"><thead>'
    if len(runs) > 1:
        spans = [(run["label"], len(run["measured"])) for run in runs if run["measured"]]
        heads = (f'<th colspan="{n}" scope="colgroup">{text(label)}' for label, n in spans)
        yield f"<tr><th>{''.join(heads)}"
    yield "<tr><th>"
    for [column] in columns:
        against = string(column.measures.get("against"))
        below = f'<br><span class="soft">against {text(against)}</span>' if against else ""
        yield f'<th scope="col">{text(column.name)}{below}'
    yield "<tbody>"
    for row in measured.rows(columns):
        yield f'<tr><th scope="row">{text(row.label)}{"".join(map(_cell, row.cells))}'
    yield f"</table></div>{_all_numbers(columns)}</section>\n"


def _cell(cell: measured.Cell) -> str:
    about = f' title="{text(cell.about)}"' if cell.about else ""
    return f"<td{about}>{f'<b>{text(cell.shown)}</b>' if cell.differs else text(cell.shown)}"


def _all_numbers(columns: Sequence[Sequence[measured.Column]]) -> str:
    """Every number of the table and more, folded."""
    several = len({column.run for [column] in columns}) > 1
    rows = []
    for [column] in columns:
        where = [f"{column.run}: {column.name}" if several else column.name]
        for source, lang, measure, found in measured.flat(column):
            ends = [found.get("low", found.get("p10")), found.get("high", found.get("p90"))]
            numbers = [number(value) for value in (found.get("value"), *ends, found.get("n"))]
            rows.append([*where, source, lang, measure, *map(draw.shown, numbers)])
    head = ["model", "source", "language", "measure", "value", "low or p10", "high or p90", "n"]
    return f'<details class="data"><summary>data table</summary>{_table(head, rows)}</details>'


def alerts(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield '<section id="alerts"><h2>Alerts</h2>'
    if not any(run["alerts"] for run in runs):
        yield '<p class="soft">None.</p>'
    for at, run in enumerate(runs):
        if not run["alerts"]:
            continue
        if len(runs) > 1:
            yield f"<h3>{text(run['label'])}</h3>"
        yield '<ul class="alerts">'
        for alert in run["alerts"][:MOST_ALERTS]:
            where = f"{alert['stage']}, step {alert['step']}"
            links = " ".join(
                _link(at, alert, prompt, sample) for prompt, sample in alert["samples"]
            )
            yield (
                f'<li><b>{text(alert["name"])}</b> <span class="soft">{text(where)}</span> '
                f"{text(shortened(alert['text']))} {links}"
            )
        yield "</ul>"
        if len(run["alerts"]) > MOST_ALERTS:
            yield f"<p>… and {len(run['alerts']) - MOST_ALERTS} more in events.jsonl</p>"
    yield "</section>\n"


def _link(run: int, alert: Mapping[str, Any], prompt: str, sample: int | None) -> str:
    """To an answer in the browser; the same form that page.js writes."""
    parts = {"run": str(run), "stage": alert["stage"], "step": str(alert["step"]), "id": prompt}
    query = "&".join(f"{key}={quote(_safe(value), safe='')}" for key, value in parts.items())
    name = f"{prompt} #{sample}" if sample is not None else prompt
    return f'<a class="answer" href="#{text(query)}">{text(name[:80])}</a>'


def _safe(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")


# -- numbers -----------------------------------------------------------------------------------------------


def measures(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    columns = [(run, stage) for run in runs for stage in run["stages"] if stage["state"] != "new"]
    yield '<section id="measures"><h2>Stages and measures</h2>'
    if not columns:
        yield '<p class="soft">No stage has begun.</p></section>\n'
        return
    yield (
        '<p class="soft">first → last. Held-out numbers are those of the first and the last evaluation, '
        f"with their 95 % intervals; others are means over up to {tables.ENDS} steps at each end.</p>"
    )
    yield '<div class="scroll"><table class="measures"><thead>'
    if len(runs) > 1:
        yield "<tr><th>"
        for run in runs:
            count = sum(1 for one, _ in columns if one is run)
            if count:
                yield f'<th colspan="{count}" scope="colgroup">{text(run["label"])}'
    yield "<tr><th>"
    for _, stage in columns:
        kind = f" ({stage['kind']})" if stage["kind"] != stage["name"] else ""
        above = f'<br><span class="soft">from {text(", ".join(stage["parents"]))}</span>'
        yield f'<th scope="col">{text(stage["name"] + kind)}{above if stage["parents"] else ""}'
    yield "<tbody>"
    for label, cells in tables.measures([stage for _, stage in columns]):
        yield f'<tr><th scope="row">{text(label)}{"".join(f"<td>{text(c)}" for c in cells)}'
    yield "</table></div></section>\n"


def curves(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield '<section id="curves"><h2>Curves</h2>'
    yield (
        '<p class="soft">Over the steps of a stage. A click opens the answers of that step; the table '
        "below a chart has its numbers.</p>"
    )
    if len(runs) > 1:
        names = dict.fromkeys(stage["name"] for run in runs for stage in run["stages"])
        for name in names:
            yield from _compared(runs, name)
    else:
        for stage in runs[0]["stages"]:
            yield from _stage_curves(stage, runs[0])
    yield "</section>\n"


def _stage_curves(stage: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    if not stage["rows"]:
        return
    if len(run["stages"]) > 1:
        yield f"<h3>{text(stage['name'])}</h3>"
    opens = stage["name"] if any("step" in group for group in stage["groups"]) else ""
    yield '<div class="charts">'
    for chart in lines.charts(stage):
        yield draw.chart(chart, stage=opens)
    yield "</div>"
    others = lines.other_charts(stage)
    if others:
        yield f'<details class="more"><summary>{len(others)} other metrics</summary><div class="charts">'
        for chart in others:
            yield draw.chart(chart, stage=opens)
        yield "</div></details>"


def _compared(runs: Sequence[Mapping[str, Any]], name: str) -> Iterator[str]:
    found = [
        (run["label"], lines.charts(stage))
        for run in runs
        for stage in run["stages"]
        if stage["name"] == name and stage["rows"]
    ]
    drawn = lines.compared(found)
    if len(found) == 1:
        drawn = found[0][1]
    if drawn:
        alone = f": {found[0][0]} only" if len(found) == 1 else ""
        yield f'<h3>{text(name)}{text(alone)}</h3><div class="charts">'
        for chart in drawn:
            yield draw.chart(chart)
        yield "</div>"


# -- answers -----------------------------------------------------------------------------------------------


def browser(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield '<section id="answers"><h2>Answers</h2>'
    said = [one for run in runs for one in _all_said(run, len(runs) > 1)]
    if said:
        inner = "".join(f'<p class="soft">{text(one)}</p>' for one in said)
        yield f"<details><summary>Which answers are in this page</summary>{inner}</details>"
    if any(run["bases"] or any(stage["groups"] for stage in run["stages"]) for run in runs):
        yield (
            '<div id="browser" hidden></div><noscript><p>The browser of answers needs the script of '
            "this page; rollouts/step_*.jsonl, measures/*/samples.jsonl and eval/**/samples.jsonl of the "
            "stages have all answers.</p></noscript>"
        )
    else:
        yield '<p class="soft">No answers were sampled yet.</p>'
    yield "</section>\n"


def _all_said(run: Mapping[str, Any], several: bool) -> Iterator[str]:
    for stage in run["stages"]:
        if stage["chosen"]["groups"]:
            yield _said(run, stage, several)
    yield from _said_asked(run, several)


def _said(run: Mapping[str, Any], stage: Mapping[str, Any], several: bool) -> str:
    """Which answers have their text in the page."""
    chosen, counts = stage["chosen"], stage["counts"]
    there = [group for group in stage["groups"] if group["split"] == "training"]
    answers = sum(len(group["answers"]) for group in there)
    where = f"{run['label']}, {stage['name']}" if several else stage["name"]
    if len(there) == chosen["groups"]:
        return f"{where}: all {counts['answers']:,} answers to {chosen['groups']:,} questions."
    few = chosen["each"]
    each = {0: "all groups", 1: "the first group"}.get(few, f"the first {few} groups")
    every = (
        f"{each} of every step"
        if chosen["every"] == 1
        else f"{each} of one step in {chosen['every']}"
    )
    sampled = f", and {every}" if chosen["every"] else ""
    return (
        f"{where}: {answers:,} of {counts['answers']:,} answers are here with their text: those that alerts "
        f"name, the best and the worst paid, the first and the last steps{sampled}, as far as they fit. "
        "Counts and curves are of all answers; rollouts/step_*.jsonl have all texts."
    )


ASKED = (
    (
        "measured",
        "Measured answers",
        "of every source those on which the models differ most, and an even choice, the same ones of each "
        "model: see the same question at its answers. STAGE/measures/SOURCE/samples.jsonl have all.",
    ),
    (
        "sampled",
        "Answers of sampling stages",
        "those that data.json names as examples of what was dropped, and an even choice. "
        "STAGE/eval/samples.jsonl have all.",
    ),
)
"""Kind, its name, which questions are shown."""


def _said_asked(run: Mapping[str, Any], several: bool) -> Iterator[str]:
    """Which answers that belong to no step have their text in the page."""
    for kind, name, which in ASKED:
        found = run["asked"][kind]
        if not found["answers"]:
            continue
        where = f"{run['label']}, {name[0].lower()}{name[1:]}" if several else name
        if found["shown_answers"] == found["answers"]:
            yield f"{where}: all {found['answers']:,} to {found['questions']:,} questions."
            continue
        each = (
            f"the first {found['each']} answers to each" if found["each"] else "all answers to each"
        )
        yield (
            f"{where}: {found['shown_answers']:,} of {found['answers']:,} are here with their text, "
            f"{found['shown_questions']:,} of {found['questions']:,} questions and {each}; {which}"
        )


# -- data, events, settings --------------------------------------------------------------------------------


def ledger(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield '<section id="data"><h2>Data ledger</h2>'
    for run in runs:
        for stage in run["stages"]:
            inner = "".join(_stage_data(run, stage))
            if inner:
                where = f"{run['label']}: {stage['name']}" if len(runs) > 1 else stage["name"]
                yield f"<h3>{text(where)}</h3>{inner}"
    yield "</section>\n"


def _stage_data(run: Mapping[str, Any], stage: Mapping[str, Any]) -> Iterator[str]:
    said = list(tables.asked(run["recipe"], stage))
    if said:
        yield _table(["asked for", ""], [[name, "\n".join(items)] for name, items in said])
    counts = stage["counts"]
    if counts["answers"]:
        verdicts = ", ".join(f"{n:,} {name}" for name, n in sorted(counts["statuses"].items()))
        yield (
            f"<p>{counts['questions']:,} different questions asked, {counts['answers']:,} answers, "
            f"{counts['tokens']:,} tokens sampled. Verdicts: {text(verdicts)}. A timeout or an error is "
            "the grader's: such an answer got no reward, which is not a reward of 0.</p>"
        )
        head, rows = tables.sampled(stage)
        if rows:
            yield _table(head, rows)
    if stage["mismatch"]:
        rows, about = tables.mismatch(stage["mismatch"])
        yield (
            "<h4>Stored answers against the model that learns from them</h4>"
            f"{_table(['', 'at the start', 'at the end'], rows) if rows else ''}"
            f'<p class="soft">{"" if rows else "Not known. "}{text(shortened(about))}.</p>'
        )
    for name, value in stage["facts"].items():
        rows = [[key, shortened(found)] for key, found in tables.leaves(value)]
        if rows:
            opened = " open" if len(rows) <= 12 else ""
            yield f"<details{opened}><summary>{text(name)}</summary>{_table(None, rows[:MOST_FACTS])}"
            yield f"<p>… and {len(rows) - MOST_FACTS} more</p>" if len(rows) > MOST_FACTS else ""
            yield "</details>"


def _table(head: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    heads = f"<thead><tr>{''.join(f'<th>{text(cell)}' for cell in head)}" if head else ""
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}' for cell in row)}" for row in rows)
    return f'<div class="scroll"><table>{heads}<tbody>{body}</table></div>'


def events(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield '<section id="events"><h2>What happened</h2>'
    for run in runs:
        rows = []
        for event in run["events"]:
            if event.get("event") in ("alert", "checkpoint"):
                continue
            facts = {k: v for k, v in event.items() if k not in ("time", "attempt", "event")}
            said = "; ".join(f"{key} {value}" for key, value in tables.leaves(facts) if value)
            when = utc(number(event.get("time")) or 0.0)
            attempt = string(event.get("attempt"))
            rows.append([when, attempt, string(event.get("event")), shortened(said)])
        written = sum(event.get("event") == "checkpoint" for event in run["events"])
        title = f"{run['label']}: " if len(runs) > 1 else ""
        yield (
            f"<details open><summary>{text(title)}{len(rows)} events; {written} checkpoints and "
            f"{len(run['alerts'])} alerts besides</summary>"
            f"{_table(['when', 'attempt', 'what', ''], rows)}</details>"
        )
    yield "</section>\n"


def settings(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield '<section id="settings"><h2>Configuration and environment</h2>'
    if len(runs) > 1:
        found = tables.differences([run["recipe"] for run in runs])
        yield "<h3>What differs between the recipes</h3>"
        if found:
            head = ["", *(run["label"] for run in runs)]
            yield _table(head, [[key, *map(shortened, cells)] for key, cells in found])
        else:
            yield '<p class="soft">Nothing.</p>'
    for run in runs:
        if len(runs) > 1:
            yield f"<h3>{text(run['label'])}</h3>"
        if run["recipe_text"]:
            yield (
                f"<details><summary>recipe.toml</summary><pre>{text(run['recipe_text'])}</pre></details>"
            )
        for stage in run["stages"]:
            if stage["resolved"]:
                yield _tree(f"{stage['name']}/resolved.json", stage["resolved"])
        if run["env"]:
            yield _tree("env.json", run["env"])
    yield "</section>\n"


def _tree(name: str, value: Any) -> str:
    rows = [[key, shortened(found)] for key, found in tables.leaves(value)]
    return f"<details><summary>{text(name)}</summary>{_table(None, rows[:MOST_FACTS])}</details>"

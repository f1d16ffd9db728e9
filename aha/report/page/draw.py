"""Charts as SVG and as a data table, and the ribbon of stages: text out, no script needed.

Colours, dashes and light or dark are the style's (page.css: classes s0..s7); a series is also told by its
dash and by the shape of its marks. The policy of the page forbids style attributes: only SVG's own.
"""

import math
from collections.abc import Iterator, Sequence

from aha.report.page.curves import Chart, Series, Values
from aha.report.page.escape import text
from aha.report.page.lineage import Stage

WIDTH, HEIGHT = 600, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 28
COLOURS = 8
NODE, NODE_HEIGHT, GAP, LANE = 178, 62, 46, 16
SPARSE = 0.5
"""A series with fewer known values than this share is joined across its gaps and has marks."""


def chart(it: Chart, *, stage: str = "", run: int = 0) -> str:
    """A figure: title, legend, curves, table. `stage`: name of the stage whose steps a click opens."""
    low, high = _range(it)
    opens = f' data-stage="{text(stage)}" data-run="{run}"' if stage else ""
    facts = (
        f' data-left="{LEFT}" data-right="{WIDTH - RIGHT}" data-width="{WIDTH}"'
        f' data-first="{it.steps[0]}" data-last="{it.steps[-1]}"'
    )
    parts = [
        f'<figure class="chart" tabindex="0"{facts}{opens}>',
        f'<figcaption><b>{text(it.title)}</b> <span class="unit">{text(it.unit)}</span>',
        f'<span class="note">{text(it.note)}</span>' if it.note else "",
        f"</figcaption>{_legend(it)}",
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(it.title)}">',
        *_axes(it, low, high),
        *(_stack(it, low, high) if it.stacked else _lines(it, low, high)),
        f'<line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>',
        "</svg>",
        table(it),
        "</figure>\n",
    ]
    return "".join(parts)


def table(it: Chart) -> str:
    """All points of a chart as a table, folded."""
    head = ["step"]
    columns: list[Values] = [it.steps]
    for series in it.series:
        head.append(series.label)
        columns.append(series.values)
        if series.low:
            head += [f"{series.label}, low", f"{series.label}, high"]
            columns += [series.low, series.high]
    rows = [
        "<tr>" + "".join(f"<td>{shown(value)}</td>" for value in row)
        for row in zip(*columns, strict=True)
    ]
    heads = "".join(f"<th>{text(name)}" for name in head)
    summary = f"data table{f', {it.unit}' if it.unit else ''}"
    return (
        f'<details class="data"><summary>{text(summary)}</summary><div class="scroll"><table><thead>'
        f"<tr>{heads}<tbody>{''.join(rows)}</table></div></details>"
    )


def shown(value: float | None) -> str:
    """At most five significant digits; nothing for a value that is not known."""
    if value is None:
        return ""
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


# -- scales ------------------------------------------------------------------------------------------------


def _range(it: Chart) -> tuple[float, float]:
    """Lowest and highest value of the axis."""
    if it.stacked:
        return 0.0, 1.0
    values = [v for s in it.series for part in (s.values, s.low, s.high) for v in part]
    known = [v for v in values if v is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if low >= 0 and (low < 0.6 * high or "share" in it.unit):
        low = 0.0
    if "share" in it.unit and 0.5 < high <= 1:
        high = 1.0
    if high - low <= 1e-12 * max(abs(high), abs(low)):
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    steps = ticks(low, high)
    size = steps[1] - steps[0]
    return min(low, math.floor(low / size) * size), max(high, math.ceil(high / size - 1e-9) * size)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values from low to high, at least two.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = max((high - low) / most, abs(high) * 1e-300, 1e-300)
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    found = [float(f"{i * size:.15g}") for i in range(first, last + 1)]
    return found if len(found) > 1 else [low, high]


def _x(it: Chart, step: float) -> float:
    first, last = it.steps[0], it.steps[-1]
    share = (step - first) / (last - first) if last > first else 0.5
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low)
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _axes(it: Chart, low: float, high: float) -> Iterator[str]:
    for value in ticks(low, high):
        y = _y(value, low, high)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_tick(value)}</text>'
    below = HEIGHT - BOTTOM
    for step in [s for s in ticks(it.steps[0], it.steps[-1], 8) if s == int(s)] or it.steps[:1]:
        x = _x(it, step)
        yield f'<line class="axis" x1="{x}" x2="{x}" y1="{below}" y2="{below + 4}"/>'
        yield f'<text class="tick" x="{x}" y="{below + 17}" text-anchor="middle">{int(step)}</text>'
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{below}" y2="{below}"/>'
    yield f'<text class="tick" x="4" y="{below + 17}">step</text>'


def _tick(value: float) -> str:
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"  # 1.5e-4: no wider than the margin
    if size >= 1e4:
        return f"{value / 1000:.4g}k"
    return f"{value:.4g}"


# -- curves ------------------------------------------------------------------------------------------------


def _lines(it: Chart, low: float, high: float) -> Iterator[str]:
    for number, series in enumerate(it.series):
        if series.low:
            yield _band(it, series, number, low, high)
    for number, series in enumerate(it.series):
        known = [
            (step, v) for step, v in zip(it.steps, series.values, strict=True) if v is not None
        ]
        sparse = len(known) < SPARSE * len(it.steps)
        runs = [known] if sparse else _runs(it.steps, series.values)
        points = [[(_x(it, s), _y(v, low, high)) for s, v in run] for run in runs]
        path = "".join("M" + "L".join(f"{x} {y}" for x, y in run) for run in points if run)
        yield f'<path class="line s{number % COLOURS}" d="{path}"/>'
        flat = [point for run in points for point in run]
        every = 1 if sparse or len(flat) <= 12 else -(-len(flat) // 6)
        offset = (number * every) // max(1, len(it.series))
        for x, y in flat[offset::every] if every > 1 else flat:
            yield _mark(x, y, number)


def _runs(steps: Sequence[int], values: Values) -> list[list[tuple[int, float]]]:
    """Known values in a row."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in zip(steps, values, strict=True):
        if value is not None:
            runs[-1].append((step, value))
        elif runs[-1]:
            runs.append([])
    return runs


def _band(it: Chart, series: Series, number: int, low: float, high: float) -> str:
    known = [
        (_x(it, step), _y(below, low, high), _y(above, low, high))
        for step, below, above in zip(it.steps, series.low, series.high, strict=True)
        if below is not None and above is not None
    ]
    if len(known) == 1:  # an area of no width is a line
        x, bottom, top = known[0]
        return f'<path class="line s{number % COLOURS}" d="M{x} {bottom}L{x} {top}"/>'
    there = [f"{x} {top}" for x, _, top in known]
    back = [f"{x} {bottom}" for x, bottom, _ in reversed(known)]
    return f'<path class="band s{number % COLOURS}" d="M{"L".join(there + back)}Z"/>'


def _stack(it: Chart, low: float, high: float) -> Iterator[str]:
    """Shares on top of one another; a step of which one is not known is left out."""
    rows = list(zip(it.steps, *(series.values for series in it.series), strict=True))
    whole = [row for row in rows if all(value is not None for value in row)]
    base = [0.0] * len(whole)
    for number in range(len(it.series)):
        top = [b + float(row[number + 1] or 0) for b, row in zip(base, whole, strict=True)]
        there = [
            f"{_x(it, row[0] or 0)} {_y(t, low, high)}" for row, t in zip(whole, top, strict=True)
        ]
        back = [
            f"{_x(it, row[0] or 0)} {_y(b, low, high)}" for row, b in zip(whole, base, strict=True)
        ]
        if len(whole) == 1:  # one step: an area of no width is a line
            yield f'<path class="line s{number % COLOURS}" d="M{there[0]}L{back[0]}"/>'
        elif whole:
            path = "L".join(there + back[::-1])
            yield f'<path class="area s{number % COLOURS}" d="M{path}Z"/>'
        base = top


def _mark(x: float, y: float, number: int) -> str:
    """Another shape for each series."""
    kind = f'class="mark s{number % COLOURS}"'
    shape = number % 4
    if shape == 0:
        return f'<circle {kind} cx="{x}" cy="{y}" r="3"/>'
    if shape == 1:
        return f'<rect {kind} x="{x - 2.7:.1f}" y="{y - 2.7:.1f}" width="5.4" height="5.4"/>'
    around = (
        ((0, -4), (3.6, 2.6), (-3.6, 2.6)) if shape == 2 else ((0, -4), (4, 0), (0, 4), (-4, 0))
    )
    points = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in around)
    return f'<polygon {kind} points="{points}"/>'


def _legend(it: Chart) -> str:
    entries = []
    for number, series in enumerate(it.series):
        if it.stacked:
            drawn = f'<rect class="area s{number % COLOURS}" x="2" y="2" width="20" height="10"/>'
        else:
            drawn = f'<path class="line s{number % COLOURS}" d="M0 7L24 7"/>{_mark(12, 7, number)}'
        last = next((v for v in reversed(series.values) if v is not None), None)
        band = f"; band: {series.band}" if series.band else ""
        entries.append(
            f'<li><svg class="key" viewBox="0 0 24 14" aria-hidden="true">{drawn}</svg>'
            f"{text(series.label)} <b>{shown(last)}</b>{text(band)}"
        )
    return f'<ul class="legend">{"".join(entries)}</ul>'


# -- the ribbon --------------------------------------------------------------------------------------------


def ribbon(stages: Sequence[tuple[Stage, str, str, str]]) -> str:
    """The graph of stages, left to right: (stage, state, a line about it, where a click goes)."""
    rows: dict[int, int] = {}
    place: dict[str, tuple[int, int]] = {}
    for stage, *_ in stages:
        row = rows.get(stage.depth, 0)
        rows[stage.depth] = row + 1
        place[stage.name] = (stage.depth * (NODE + GAP) + 2, row * (NODE_HEIGHT + LANE) + 2)
    width = max((x for x, _ in place.values()), default=0) + NODE + 2
    height = max((y for _, y in place.values()), default=0) + NODE_HEIGHT + LANE
    drawn = list(_edges(stages, place))
    for stage, state, line, link in stages:
        x, y = place[stage.name]
        kind = f"{stage.kind} · " if stage.kind != stage.name else ""
        drawn.append(
            f'<a href="#{text(link)}"><rect class="node {state}" x="{x}" y="{y}" width="{NODE}" '
            f'height="{NODE_HEIGHT}" rx="6"/><text class="name" x="{x + 12}" y="{y + 21}">'
            f'{text(_fit(stage.name, 22))}</text><text class="fact" x="{x + 12}" y="{y + 38}">'
            f'{text(_fit(kind + state_word(state), 26))}</text><text class="fact" x="{x + 12}" y="{y + 53}">'
            f"{text(_fit(line, 27))}</text><title>{text(f'{stage.name}: {kind}{line}')}</title></a>"
        )
    return (
        f'<div class="scroll"><svg class="ribbon" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="stages and what they start from">'
        f"{''.join(drawn)}</svg></div>"
    )


def state_word(state: str) -> str:
    return {"done": "✓ done", "unfinished": "◐ not finished", "new": "○ not begun"}.get(
        state, state
    )


def _edges(
    stages: Sequence[tuple[Stage, str, str, str]], place: dict[str, tuple[int, int]]
) -> Iterator[str]:
    """An edge to the next column goes straight; a longer one in the lane below its parent's row."""
    for stage, *_ in stages:
        for parent in stage.parents:
            (x0, y0), (x1, y1) = place[parent], place[stage.name]
            start, end = (x0 + NODE, y0 + NODE_HEIGHT // 2), (x1, y1 + NODE_HEIGHT // 2)
            turn, last = x0 + NODE + GAP // 3, x1 - GAP // 3
            lane = y0 + NODE_HEIGHT + LANE // 2 if x1 - x0 > NODE + GAP else start[1]
            way = [(turn, start[1]), (turn, lane), (last, lane), (last, end[1]), end]
            drawn = "".join(f"L{x} {y}" for x, y in way)
            yield f'<path class="edge" d="M{start[0]} {start[1]}{drawn}"/>'
            yield f'<path class="arrow" d="M{end[0]} {end[1]}l-7 -4v8z"/>'


def _fit(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"

"""docs/performance.svg: the table's ratios as bars, goals as ticks. Plain SVG, legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.figures import Figure, groups
from bench.results import Result

WIDTH, LEFT, RIGHT = 860, 400, 60
ROW, BAR, HEADING, MARGIN = 19, 12, 34, 12

STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px }
.value { font-variant-numeric: tabular-nums }
.reached { fill: #1a7f5a } .missed { fill: #c2792b } .plain { fill: #57769e }
.one { stroke: #8c959f } .goal { stroke: #24292f; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #d5dbe1 } .goal { stroke: #e6edf3 } .one { stroke: #6e7681 }
  .reached { fill: #3fa37c } .missed { fill: #d99545 } .plain { fill: #7397c4 }
}"""


def picture(results: Sequence[Result]) -> str:
    """Every row of the table that is so many times another's speed."""
    by_name = {(result.scenario, result.model): result for result in results}
    shown: list[tuple[str, list[tuple[Figure, Result, float]]]] = []
    for group in groups():
        bars = []
        for figure in group.figures:
            result = by_name.get((figure.scenario, figure.model))
            ratio = figure.ratio(result) if result else None
            if result is not None and ratio is not None and figure.kind == "times":
                bars.append((figure, result, ratio))
        if bars:
            shown.append((group.title, bars))
    most = max((max(ratio, figure.goal or 0) for _, bars in shown for figure, _, ratio in bars), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / most
    body, y = [], MARGIN
    for title, bars in shown:
        body.append(f'<text class="title" x="0" y="{y + 14}">{escape(title)}</text>')
        y += HEADING - MARGIN
        body.append(_line("one", LEFT + scale, y, y + ROW * len(bars)))
        for figure, result, ratio in bars:
            body += _bar(figure, result, ratio, y, scale)
            y += ROW
        y += MARGIN
    notes = "Times the other's speed. Thin line: equal. Tick: the goal; green where it is reached."
    body.append(f'<text x="0" y="{y + 14}">{notes}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}" role="img">',
            f"<title>{notes}</title>",
            f"<style>\n{STYLE}\n</style>",
            *body,
            "</svg>\n",
        ]
    )


def _bar(figure: Figure, result: Result, ratio: float, y: int, scale: float) -> list[str]:
    kind = {True: "reached", False: "missed", None: "plain"}[figure.reached(result)]
    middle = y + ROW / 2
    end = LEFT + ratio * scale
    parts = [
        f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(figure.what)}, {escape(figure.model)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{middle - BAR / 2}" width="{ratio * scale:.1f}" height="{BAR}" rx="2"/>',
    ]
    label = end
    if figure.goal is not None:
        goal = LEFT + figure.goal * scale
        parts.append(_line("goal", goal, middle - BAR / 2 - 2, middle + BAR / 2 + 2))
        label = max(end, goal) if goal - end < 40 else end
    parts.append(f'<text class="value" x="{label + 6:.1f}" y="{middle + 4}">{ratio:.2f}x</text>')
    return parts


def _line(kind: str, x: float, top: float, bottom: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'

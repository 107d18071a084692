"""Sections as one HTML file that opens offline and asks nothing of anyone."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

from windtunnel.digest import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.report.section import Figure, Section, Table
    from windtunnel.verdict import Verdict

STYLE = """
:root { --ink: #1d2733; --faint: #667585; --line: #dde3ea; --paper: #fff; --go: #1a7f4b; --no-go: #b3261e; --inconclusive: #9a6700; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 24px 20px 60px; }
header, section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 20px 26px; margin-bottom: 20px; }
h1 { margin: 0 0 4px; font-size: 26px; } h2 { margin: 0 0 8px; font-size: 20px; } h3 { margin: 22px 0 6px; font-size: 15px; }
.outcome { font-size: 13px; font-weight: 650; padding: 2px 10px; border-radius: 99px; color: #fff; vertical-align: 3px; }
.go { background: var(--go); } .no-go { background: var(--no-go); } .inconclusive { background: var(--inconclusive); }
ul { margin: 8px 0; padding-left: 20px; } .faint, .notes { color: var(--faint); } .notes { font-size: 13px; }
nav a { margin-right: 14px; color: inherit; }
.scroll { overflow-x: auto; max-height: 460px; overflow-y: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: left; color: var(--faint); font-weight: 600; position: sticky; top: 0; background: var(--paper); }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.long { white-space: normal; min-width: 260px; }
code { font-size: 92%; background: #eef1f5; border-radius: 4px; padding: 0 4px; }
figure { margin: 16px 0 0; } figcaption { font-size: 13px; color: var(--faint); }
.plot { width: 100%; height: 400px; }
"""

LONG = 60
"""A cell of more characters may break its line."""

LAYOUT: dict[str, Any] = {
    "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#1d2733"},
    "margin": {"l": 70, "r": 20, "t": 14, "b": 50},
    "paper_bgcolor": "#fff",
    "plot_bgcolor": "#fff",
    "colorway": ["#2563a8", "#d9730d", "#1a7f4b", "#8e44ad", "#b3261e", "#0e8a8a", "#7a6a00"],
    "legend": {"orientation": "h", "y": -0.2},
    "hovermode": "closest",
}
AXIS = {"gridcolor": "#e8ecf1", "zerolinecolor": "#c4ccd6", "automargin": True}


def render_html(title: str, verdict: Verdict, sections: Sequence[Section], facts: Mapping[str, str]) -> str:
    """Lay a report out as one self-contained page.

    Args:
        title: of the page.
        verdict: shown first.
        sections: one a stage, in the order of the street.
        facts: what ran, where and when, as name and value.

    Returns:
        HTML with Plotly's script and all data inside; the same bytes for the same report.
    """
    from plotly.offline import get_plotlyjs

    plots: list[Figure] = []
    body = "".join(_section(section, plots) for section in sections)
    scripts = "".join(_plot(number, figure) for number, figure in enumerate(plots))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><main>"
        f"{_header(title, verdict, sections, facts)}{body}</main>"
        f"<script>{get_plotlyjs()}</script><script>{scripts}</script></body></html>\n"
    )


def _text(text: str) -> str:
    """Escape a text; what stands in backquotes is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=True))


def _items(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(text)}</li>" for text in texts) + "</ul>" if texts else ""


def _outcome(outcome: str) -> str:
    return f'<span class="outcome {outcome}">{outcome}</span>'


def _header(title: str, verdict: Verdict, sections: Sequence[Section], facts: Mapping[str, str]) -> str:
    links = "".join(f'<a href="#{_anchor(each)}">{_text(each.title)} {_outcome(each.outcome)}</a>' for each in sections)
    changes = f"<h3>What would change it</h3>{_items(verdict.would_change)}" if verdict.would_change else ""
    told = " · ".join(f"{_text(name)}: {_text(value)}" for name, value in facts.items())
    return (
        f"<header><h1>{_text(title)} {_outcome(verdict.outcome)}</h1><p class=faint>{told}</p>"
        f"{_items(verdict.reasons)}{changes}<nav>{links}</nav></header>"
    )


def _anchor(section: Section) -> str:
    return _text(section.title.lower().replace(" ", "-"))


def _section(section: Section, plots: list[Figure]) -> str:
    parts = [
        f'<section id="{_anchor(section)}"><h2>{_text(section.title)} {_outcome(section.outcome)}</h2>',
        _items(section.sentences),
    ]
    for figure in section.figures:
        parts.append(
            f'<figure><div class="plot" id="plot-{len(plots)}"{_height(figure)}></div><figcaption>{_text(figure.caption)}</figcaption></figure>'
        )
        plots.append(figure)
    parts += [_table(table) for table in section.tables]
    parts.append(
        f'<div class="notes"><h3>How this was found, and what is not known</h3>{_items(section.notes)}</div></section>'
    )
    return "".join(parts)


def _height(figure: Figure) -> str:
    """The room of a figure that says how high it is."""
    height = figure.plotly["layout"].get("height")
    return f' style="height: {int(height)}px"' if height else ""


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows)
    return f'<h3>{_text(table.caption)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(cell: str) -> str:
    return f"<td class=long>{_text(cell)}</td>" if len(cell) > LONG else f"<td>{_text(cell)}</td>"


def _plot(number: int, figure: Figure) -> str:
    layout = {**LAYOUT, **figure.plotly["layout"]}
    for key in [name for name in layout if name.startswith(("xaxis", "yaxis"))]:
        layout[key] = {**AXIS, **layout[key]}
    # compact, and NaN as null, like every JSON that we write
    data = json.dumps(json.loads(canonical_json([figure.plotly["data"], layout])), sort_keys=True)
    # `</script>` inside a string would end the script, and `<!--<script>` would keep it from ending
    safe = data.replace("<", "\\u003c")
    return f'Plotly.newPlot("plot-{number}", ...{safe}, {{responsive: true, displaylogo: false}});\n'

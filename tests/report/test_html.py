from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from windtunnel.report.html import render_html
from windtunnel.report.section import Figure, Section, Table
from windtunnel.verdict import Verdict

NASTY = "<b>&\"'</script><!--<script>alert(1)</script>"
VERDICT = Verdict("no-go", ("a reason",), ("a change",))


def _figure(name: str = "line", y: tuple[float, ...] = (1.0, 2.0)) -> Figure:
    plot = {
        "data": [{"type": "scatter", "name": name, "x": [1, 2], "y": list(y)}],
        "layout": {"xaxis": {"type": "log"}},
    }
    return Figure(f"caption of {name}", plot)


def _section(title: str = "Optimize", text: str = "a sentence") -> Section:
    table = Table(f"caption {text}", ("name", f"column {text}"), (("a", f"cell {text}"), ("b", "2")), ())
    return Section(title, "go", (f"found {text}",), (table,), (_figure(), _figure("other")), (f"note {text}",))


def _page(*sections: Section, title: str = "Rides", facts: dict[str, str] | None = None) -> str:
    return render_html(title, VERDICT, sections, facts if facts is not None else {"seed": "1"})


class _Reader(HTMLParser):
    """Every tag with its attributes, every text, and every script's own text, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        del tag
        self.inside = ""

    def handle_data(self, data: str) -> None:
        {"script": self.scripts, "style": self.styles}.get(self.inside, self.texts).append(data)


def _plots(page: str) -> list[tuple[str, list[object]]]:
    """Each call of Plotly, as the element it draws in and its arguments."""
    calls = re.findall(
        r'^Plotly\.newPlot\("([^"]+)", \.\.\.(.*), \{responsive: true, displaylogo: false\}\);$',
        _Reader(page).scripts[-1],
        re.MULTILINE,
    )
    return [(name, json.loads(arguments)) for name, arguments in calls]


def test_self_contained() -> None:
    """The page loads nothing: no source, no link to elsewhere, no import, no url in its style."""
    reader = _Reader(_page(_section()))

    for tag, attributes in reader.tags:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#"), attributes
    for style in reader.styles:
        assert "@import" not in style
        assert "url(" not in style
    outside_plotly = _page(_section()).replace(get_plotlyjs(), "")
    assert "http://" not in outside_plotly
    assert "https://" not in outside_plotly


def test_plotly_is_inside_and_asks_for_nothing() -> None:
    """Plotly's script is in the page; no plot is of a kind for which it fetches maps, and none sends its data away."""
    page = _page(_section())
    settings = page.replace(get_plotlyjs(), "")

    assert len(page) - len(settings) == len(get_plotlyjs())
    for word in ("geo", "map", "plotlyServerURL", "showSendToCloud", "topojsonURL"):
        assert word not in settings


@pytest.mark.parametrize("where", ["title", "facts", "verdict", "sections"])
def test_texts_are_escaped(where: str) -> None:
    """Whatever a text holds, it is shown as it is and opens no tag; the number of tags stays the same."""
    verdict = VERDICT if where != "verdict" else Verdict("go", (NASTY,), (NASTY,))
    sections = [_section(text=NASTY if where == "sections" else "plain")]
    facts = {NASTY: NASTY} if where == "facts" else {"seed": "1"}
    nasty = _Reader(render_html(NASTY if where == "title" else "Rides", verdict, sections, facts))
    plain = _Reader(render_html("Rides", VERDICT, [_section(text="plain")], {"seed": "1"}))

    assert [tag for tag, _ in nasty.tags] == [tag for tag, _ in plain.tags]
    assert any(NASTY in text for text in nasty.texts)


def test_section_titles_are_escaped() -> None:
    """A section's title is text where it stands as a heading, a link and an anchor."""
    nasty, plain = _Reader(_page(_section(title=NASTY))), _Reader(_page(_section()))

    assert [tag for tag, _ in nasty.tags] == [tag for tag, _ in plain.tags]


def test_data_cannot_end_the_script() -> None:
    """Neither `</script>` nor `<!--<script>` inside a plot's data ends the script or keeps it from ending."""
    page = _page(Section("Optimize", "go", (), (), (_figure(NASTY), _figure("after")), ()))
    own = page.replace(get_plotlyjs(), "")

    assert own.count("<script>") == own.count("</script>") == 2
    assert "<!--" not in own
    (_, (first, _)), (_, (second, _)) = _plots(page)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert (first[0]["name"], second[0]["name"]) == (NASTY, "after")


def test_same_report_same_bytes() -> None:
    """The same report is the same page, also when it went through JSON on its way."""
    sections = [_section(), _section("Backtest")]
    through_json = [Section.from_dict(json.loads(json.dumps(each.to_dict()))) for each in sections]

    assert _page(*sections) == _page(*sections)
    assert _page(*sections) == _page(*through_json)


def test_everything_is_there() -> None:
    """Every plot has its place and its data, every table its heads and rows, every sentence and note its line."""
    page = _page(_section(), _section("Benchmark"))
    reader = _Reader(page)
    places = [attributes["id"] for tag, attributes in reader.tags if tag == "div" and "id" in attributes]

    assert places == ["plot-0", "plot-1", "plot-2", "plot-3"]
    assert [name for name, _ in _plots(page)] == places
    assert [tag for tag, _ in reader.tags].count("table") == 2
    assert [tag for tag, _ in reader.tags].count("td") == 8
    for text in ("Rides", "no-go", "a reason", "a change", "caption of other", "caption a sentence", "column a sentence",
                 "cell a sentence", "found a sentence", "note a sentence", "seed: 1"):  # fmt: skip
        assert text in reader.texts


def test_links_lead_to_sections() -> None:
    """Each link at the top leads to a section that is there."""
    reader = _Reader(_page(_section("Load test"), _section("Backtest")))
    links = [attributes["href"] for tag, attributes in reader.tags if tag == "a"]
    anchors = ["#" + str(attributes["id"]) for tag, attributes in reader.tags if tag == "section"]

    assert links == anchors == ["#load-test", "#backtest"]


def test_numbers_that_json_cannot_carry() -> None:
    """NaN and infinities are gaps in a plot, and numpy's numbers are numbers."""
    page = _page(Section("S", "go", (), (), (_figure(y=(float("nan"), np.float64(2.5), float("inf"))),), ()))

    ((_, (data, layout)),) = _plots(page)
    assert isinstance(data, list)
    assert isinstance(layout, dict)
    assert data[0]["y"] == [None, 2.5, None]
    assert layout["xaxis"] == {"automargin": True, "gridcolor": "#e8ecf1", "type": "log", "zerolinecolor": "#c4ccd6"}


def test_no_sections() -> None:
    """A report of nothing is still a page with a verdict."""
    assert "a reason" in _Reader(_page()).texts


def test_a_figure_that_says_how_high_it_is_has_the_room() -> None:
    """Its place in the page is as high, so that its caption stands below it and not in it."""
    high = Figure("high", {"data": [], "layout": {"height": 710}})
    page = _page(Section("Backtest", "go", (), (), (_figure(), high)))

    assert [tag.get("style") for _, tag in _Reader(page).tags if tag.get("class") == "plot"] == [None, "height: 710px"]

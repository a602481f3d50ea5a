"""The charts of `candour report`, drawn to SVG without a browser or a network. Needs the extra `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import vl_convert
from lxml import etree

from service.figures import ENOUGH, NONE, Count, Figures

WIDTH = 620
# Okabe and Ito's colours, which the colour-blind can tell apart, in the order of the taxonomy's stances.
COLOURS = ("#d55e00", "#cc79a7", "#0072b2", "#009e73", "#b89000", "#56b4e9")
NO_STANCE = "#8a9099"
_SVG = "{http://www.w3.org/2000/svg}"


def matrix(figures: Figures, titles: Mapping[str, str]) -> str:
    """A heat map of theme × primary stance: counts, coloured by their share of the theme's passages.

    titles: of each label by its key, such as theme/thresholds, and of theme/none and stance/none.
    """
    cells = []
    for theme in [*figures.themes, NONE]:
        passages = figures.total.theme(theme)
        for stance in [*figures.stances, NONE]:
            count = figures.total.matrix[theme, stance]
            cells.append(
                {
                    "theme": titles[f"theme/{theme}"],
                    "stance": titles[f"stance/{stance}"],
                    "share": count / passages if passages >= ENOUGH else 0.0,
                    "text": f"{count:,}",
                }
            )
    base = alt.Chart(_data(cells)).encode(
        x=alt.X("stance:N", sort=None, title=None, axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("theme:N", sort=None, title=None, axis=alt.Axis(labelLimit=240)),
    )
    colour = alt.Color("share:Q", scale=alt.Scale(range=["#f7fbff", "#08306b"], domain=[0, 1]), legend=None)
    ink = alt.when(alt.datum.share > 0.6).then(alt.value("#ffffff")).otherwise(alt.value("#1c1f24"))
    chart = alt.layer(base.mark_rect().encode(color=colour), base.mark_text().encode(text="text:N", color=ink))
    return _svg(
        chart.properties(width=WIDTH, height=34 * (len(figures.themes) + 1)),
        "Themes and primary stances",
        f"A grid of passages by theme and primary stance; the darker, the larger the share of the theme's passages. "
        f"Themes of fewer than {ENOUGH} passages are not coloured.",
    )


def over_time(figures: Figures, titles: Mapping[str, str]) -> str:
    """Stacked bars of passages by primary stance in each period, a panel for all and one for each theme."""
    periods = figures.periods()
    panels = ["All passages", *(titles[f"theme/{theme}"] for theme in figures.themes)]
    bars = []
    for period, count in periods.items():
        bars += [{"period": period, "panel": panels[0], **bar} for bar in _bars(count.stances, figures, titles)]
        for theme in figures.themes:
            stances = {stance: count.matrix[theme, stance] for stance in [*figures.stances, NONE]}
            bars += [
                {"period": period, "panel": titles[f"theme/{theme}"], **bar} for bar in _bars(stances, figures, titles)
            ]
    chart = alt.Chart(_data(bars)).mark_bar().encode(
        x=alt.X("period:O", title=None, scale=alt.Scale(domain=list(periods)), axis=alt.Axis(labelOverlap=True)),
        y=alt.Y("sum(passages):Q", title="passages", axis=alt.Axis(tickCount=3, tickMinStep=1)),
        color=_colour(figures, titles),
        order="order:Q",
        row=alt.Row("panel:N", sort=panels, title=None, header=alt.Header(labelOrient="top", labelAnchor="start")),
    )  # fmt: skip
    return _svg(
        chart.properties(width=WIDTH, height=70).resolve_scale(y="independent"),
        "Themes and stances over time",
        "Stacked bars of passages by primary stance in each period: a panel for all passages, then one for each theme, "
        "each with its own scale.",
    )


def groups(named: Mapping[str, Count], what: str, figures: Figures, titles: Mapping[str, str]) -> str:
    """Stacked bars of passages by primary stance, a bar for each group."""
    bars = [{"group": name, **bar} for name, count in named.items() for bar in _bars(count.stances, figures, titles)]
    chart = alt.Chart(_data(bars)).mark_bar().encode(
        x=alt.X("sum(passages):Q", title="passages", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("group:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
        color=_colour(figures, titles),
        order="order:Q",
    )  # fmt: skip
    return _svg(
        chart.properties(width=WIDTH, height=24 * len(named)),
        f"Passages by {what}",
        f"Stacked bars of passages by primary stance, one bar for each {what}, in the order of their passages.",
    )


def _bars(stances: Mapping[str, int], figures: Figures, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"stance": titles[f"stance/{stance}"], "order": order, "passages": stances.get(stance, 0)}
        for order, stance in enumerate([*figures.stances, NONE])
    ]


def _colour(figures: Figures, titles: Mapping[str, str]) -> alt.Color:
    names = [titles[f"stance/{stance}"] for stance in [*figures.stances, NONE]]
    colours = [*(COLOURS[n % len(COLOURS)] for n in range(len(figures.stances))), NO_STANCE]
    return alt.Color(
        "stance:N", scale=alt.Scale(domain=names, range=colours), legend=alt.Legend(title=None, orient="top")
    )


def _data(rows: Sequence[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _svg(chart: alt.Chart | alt.LayerChart | alt.FacetChart, title: str, description: str) -> str:
    """A chart as an SVG element that a screen reader reads as one image with a title and a description."""
    plain = (
        chart.configure(background="transparent", font="system-ui, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(gridOpacity=0.4)
    )
    svg = etree.fromstring(vl_convert.vegalite_to_svg(plain.to_dict()).encode())
    name = title.lower().replace(" ", "-")
    svg.set("role", "img")
    svg.set("aria-labelledby", f"{name} {name}-description")
    for place, (tag, ident, text) in enumerate([("title", name, title), ("desc", f"{name}-description", description)]):
        element = etree.Element(f"{_SVG}{tag}", id=ident)
        element.text = text
        svg.insert(place, element)
    return etree.tostring(svg, encoding="unicode")

"""Figures of an evaluation as SVG, the same to the byte for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from training import evaluate
from training.evaluate import Outcome, Report

STYLE: Any = {  # matplotlib types the keys as a union of all their names
    "svg.fonttype": "none", "svg.hashsalt": "candour", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "figure.facecolor": "white",
}  # fmt: skip
BLUE, GREY, RED = "#1f5a96", "#8a8f98", "#b3362b"


def reliability(found: Outcome) -> str:
    """For each label: the share of passages that have it against the probability given, with the bins' sizes."""
    columns = [n for n, output in enumerate(found.outputs) if output.axis in found.axes]
    wide = 4
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.6 * -(-len(columns) // wide)), layout="constrained")
        for place, column in enumerate(columns, 1):
            bins = evaluate.reliability(found.truth[:, column], found.scores[:, column])
            error = evaluate.calibration_error(found.truth[:, column], found.scores[:, column])
            axes = figure.add_subplot(-(-len(columns) // wide), wide, place)
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
            axes.plot([b.probability for b in bins], [b.share for b in bins], color=BLUE, linewidth=1)
            sizes = [6 + 60 * np.sqrt(b.passages / len(found.examples)) for b in bins]
            axes.scatter([b.probability for b in bins], [b.share for b in bins], s=sizes, color=BLUE)
            axes.set(xlim=(0, 1), ylim=(0, 1), title=f"{found.outputs[column].name}, ECE {error:.3f}")
        figure.supxlabel("probability given")
        figure.supylabel("share that has the label")
        return svg(figure)


def risk_coverage(found: Outcome) -> str:
    """The share of answered passages with a wrong label, as fewer and fewer are answered; the stated bound's place."""
    points = evaluate.risk_coverage(found)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([c for c, _ in points], [r for _, r in points], color=BLUE)
        if found.abstention and found.risks is not None:
            coverage = float((found.risks <= found.abstention.bound).mean())
            axes.axvline(coverage, color=RED, linewidth=1, linestyle="--")
            label = f" confident: risk of at most {found.abstention.bound:g}, {coverage:.0%} of the passages"
            axes.annotate(label, (coverage, 0.98), xycoords=("data", "axes fraction"), color=RED, va="top",
                          ha="left" if coverage < 0.5 else "right")  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel="share of passages answered, the surest first",
                 ylabel="share of those with a wrong label")  # fmt: skip
        return svg(figure)


def label_f1(reports: Mapping[str, Report]) -> str:
    """F1 of each label with its interval, ours first, beside the other models."""
    (_, ours), *others = reports.items()
    keys = [label.key for label in ours.labels]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        axes = figure.add_subplot()
        places = np.arange(len(keys))
        f1 = np.array([label.f1 for label in ours.labels])
        low, high = np.array([label.interval for label in ours.labels]).T
        spread = np.maximum([f1 - low, high - f1], 0)
        axes.bar(places, f1, 0.5, color=BLUE, yerr=spread, error_kw={"linewidth": 0.8}, label=next(iter(reports)))
        for n, (name, report) in enumerate(others):
            values = {label.key: label.f1 for label in report.labels}
            shown = [(place, values[key]) for place, key in zip(places, keys, strict=True) if key in values]
            axes.scatter(
                [p for p, _ in shown], [v for _, v in shown], s=22, marker="osD^vP*X"[n % 8], label=name, zorder=3
            )
        axes.set(ylim=(0, 1), ylabel="F1")
        axes.set_xticks(places, [key.partition("/")[2] for key in keys])
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        return svg(figure)


def svg(figure: Figure) -> str:
    """A figure as SVG text, the same for the same figure."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return written.getvalue()

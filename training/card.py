"""The model card: what a published model is, how it measured, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from labels.taxonomy import Taxonomy
from models.manifest import RELIABILITY, RISK_COVERAGE, Abstention, Lineage, Output
from training.evaluate import Report
from training.export import Parity

_TEMPLATE = Path(__file__).with_name("card.md.jinja")


def render(
    *,
    version: str,
    taxonomy: Taxonomy,
    outputs: tuple[Output, ...],
    abstention: Abstention,
    lineage: Lineage,
    reports: Mapping[str, Report],
    parity: Parity,
    size: int,
    settings: Mapping[str, object],
    teacher: Mapping[str, float],
) -> str:
    """The card as Markdown. reports: by name of the model, on the same test split, ours first.

    size: of the ONNX file, in bytes. teacher: its figures, empty where there was none."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    ours, *_ = reports.values()
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        version=version,
        taxonomy=taxonomy,
        outputs={output.key: output for output in outputs},
        abstention=abstention,
        lineage=lineage,
        reliability=RELIABILITY,
        risk_coverage=RISK_COVERAGE,
        reports=reports,
        ours=ours,
        parity=parity,
        megabytes=size / 1e6,
        settings=settings,
        teacher=teacher,
    )

"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from service.drift import NONE, Drift
from service.report import Classification

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one application. A label's rate is candour_labels_total over candour_passages_total."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "candour_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "candour_request_seconds", "From a request's first byte to its answer's last.", ("method", "route"),
            registry=self._registry, buckets=SECONDS,
        )  # fmt: skip
        self._passages = Counter("candour_passages", "Passages labelled.", registry=self._registry)
        self._confident = Counter("candour_confident", "Passages labelled with confidence.", registry=self._registry)
        self._tokens = Counter("candour_tokens", "Tokens that the network read.", registry=self._registry)
        self._labels = Counter("candour_labels", "Labels given.", ("axis", "label"), registry=self._registry)
        self._model = Gauge("candour_model", "1 for the model that answers.", ("version",), registry=self._registry)
        self._swaps = Counter(
            "candour_swaps", "Times that another model was to be served.", ("result",), registry=self._registry
        )
        self._drift = Gauge(
            "candour_drift", "Distance of the last stored documents from the reference; over 1, they have drifted.",
            ("kind", "figure"), registry=self._registry,
        )  # fmt: skip
        for result in ("done", "failed"):
            self._swaps.labels(result)

    def gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """Show a number as it is when it is asked for."""
        Gauge(f"candour_{name}", help_, registry=self._registry).set_function(value)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def labelled(self, found: Iterable[Classification], tokens: int) -> None:
        self._tokens.inc(tokens)
        for one in found:
            self._passages.inc()
            self._confident.inc(one.confident)
            for axis, names in (("theme", one.themes), ("stance", one.stances)):
                for name in names:
                    self._labels.labels(axis, name).inc()

    def serving(self, version: str) -> None:
        """Name the model that answers from now on."""
        self._model.clear()
        self._model.labels(version).set(1)

    def swapped(self, result: Literal["done", "failed"]) -> None:
        self._swaps.labels(result).inc()

    def drifted(self, found: Drift | None) -> None:
        """Show how far each kind of document is from the reference, as a share of what would be too far."""
        self._drift.clear()
        if found is None:
            return
        for source in found.sources:
            if source.council is None:
                for figure in source.figures:
                    share = figure.distance / found.threshold
                    self._drift.labels(source.kind or NONE, figure.name).set(share)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)

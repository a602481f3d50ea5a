"""Passages to labels: a verified model, its network and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labels.passages import SEGMENTATION
from models import calibration, manifest, network
from models.calibration import Array
from models.manifest import ArtefactError, Manifest
from models.network import Network
from models.registry import CHAMPION, PACKAGED, Registry


@dataclass(frozen=True)
class Prediction:
    """What the model says of one text.

    scores: the calibrated probability of each output, by its key (axis/name). risk: the calibrated chance that one of
    the labels is wrong; confident: it is within the bound that the manifest states.
    """

    scores: dict[str, float]
    themes: tuple[str, ...]
    stances: tuple[str, ...]
    primary_stance: str | None
    risk: float
    confident: bool


@dataclass(frozen=True)
class Classifier:
    """A verified model, loaded. Safe to share between threads."""

    manifest: Manifest
    network: Network

    @property
    def version(self) -> str:
        return self.manifest.version

    def scores(self, texts: Sequence[str]) -> Array:
        """Calibrated probabilities, shape (texts, outputs)."""
        return calibration.probabilities(self.network.logits(texts), self.manifest.outputs)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """A prediction for each text, in order. A text too long for one window takes each label's highest window."""
        if not texts:
            return []
        outputs = self.manifest.outputs
        scores = self.scores(texts)
        active = calibration.on(scores, outputs)
        abstention = self.manifest.abstention
        risks = calibration.risk(scores, outputs, abstention)
        return [
            Prediction(
                scores={output.key: float(p) for output, p in zip(outputs, row, strict=True)},
                themes=tuple(o.name for o, flag in zip(outputs, flags, strict=True) if flag and o.axis == "theme"),
                stances=tuple(o.name for o, flag in zip(outputs, flags, strict=True) if flag and o.axis == "stance"),
                primary_stance=primary,
                risk=float(risk),
                confident=bool(risk <= abstention.bound),
            )
            for row, flags, primary, risk in zip(
                scores, active, calibration.primary(scores, outputs), risks, strict=True
            )
        ]


def load(name: str = CHAMPION, root: Path = PACKAGED, threads: int = 0) -> Classifier:
    """Load a version or alias from a model store, after checking the sha256 of every file.

    threads: for the network, 0 for one a core. Raises ArtefactError.
    """
    folder = Registry(root).resolve(name)
    found = manifest.read(folder)
    manifest.verify(folder, found)
    if found.segmentation != SEGMENTATION:
        raise ArtefactError(
            f"{folder} is of segmentation {found.segmentation}; this candour cuts passages by {SEGMENTATION}"
        )
    loaded = network.load(folder, found.max_tokens, threads)
    if loaded.labels != len(found.outputs):
        raise ArtefactError(
            f"{folder}: the network has {loaded.labels} outputs, the manifest names {len(found.outputs)}"
        )
    return Classifier(found, loaded)

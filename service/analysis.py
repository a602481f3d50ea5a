"""The one core that the command line, the server and every batch call: bytes or texts in, results out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from labels.passages import SEGMENTATION, Passage
from models import explanation
from models.classifier import Classifier
from service import documents, report
from service.documents import Document
from service.report import Classification, Explanation, ScoredDocument, ScoredPassage


@dataclass(frozen=True)
class Parsed:
    """A document that was read and cut into passages, before the model has seen it."""

    path: str | None
    sha256: str
    document: Document
    passages: list[Passage]


def parse(data: bytes, path: str | None = None) -> Parsed:
    """Read a document and cut it into passages. Raises DocumentError."""
    document = documents.read(data)
    return Parsed(path, hashlib.sha256(data).hexdigest(), document, document.passages)


def score(parsed: Parsed, classifier: Classifier) -> ScoredDocument:
    """Label the passages of a document."""
    predictions = classifier.predict([passage.text for passage in parsed.passages])
    passages = [
        ScoredPassage(
            text=passage.text, start=passage.start, end=passage.end, page=passage.page,
            **report.fields(prediction, classifier.version),
        )
        for passage, prediction in zip(parsed.passages, predictions, strict=True)
    ]  # fmt: skip
    document = parsed.document
    return ScoredDocument(
        id=parsed.sha256[:16],
        path=parsed.path,
        title=document.title,
        published=document.published,
        media_type=document.media_type,
        pages=document.pages,
        sha256=parsed.sha256,
        model=classifier.version,
        segmentation=SEGMENTATION,
        passages=passages,
        summary=report.summarise(passages),
    )


def analyse(data: bytes, classifier: Classifier, path: str | None = None) -> ScoredDocument:
    """Read, cut and label a document. Raises DocumentError."""
    return score(parse(data, path), classifier)


def explain(texts: Sequence[str], classifier: Classifier) -> list[list[Explanation] | None]:
    """What carries the labels of texts, in order; None for a text of more than explanation.LONGEST words."""
    short = [explanation.words(text) <= explanation.LONGEST for text in texts]
    found = iter(explanation.explain([text for text, fits in zip(texts, short, strict=True) if fits], classifier))
    return [report.explanations(next(found)) if fits else None for fits in short]


def classify(texts: Sequence[str], classifier: Classifier) -> list[Classification]:
    """Label texts, in order."""
    return [report.classification(prediction, classifier.version) for prediction in classifier.predict(texts)]

"""The one core that the command line, the server and every batch call: bytes or texts in, results out."""

from __future__ import annotations

from collections.abc import Sequence

from labels.passages import SEGMENTATION
from models import explanation
from models.classifier import Classifier
from service import report
from service.parsing import Parsed, parse
from service.report import Classification, Explanation, ScoredDocument, ScoredPassage

__all__ = ["Parsed", "analyse", "classify", "explain", "parse", "relabelled", "score", "scored"]


def score(parsed: Parsed, classifier: Classifier) -> ScoredDocument:
    """Label the passages of a document."""
    return scored(parsed, classify(parsed.texts, classifier), classifier.version)


def scored(parsed: Parsed, labels: Sequence[Classification], version: str) -> ScoredDocument:
    """A document with the labels of its passages, which a model of that version gave them in order."""
    passages = [
        ScoredPassage(text=passage.text, start=passage.start, end=passage.end, page=passage.page, **dict(found))
        for passage, found in zip(parsed.passages, labels, strict=True)
    ]
    document = parsed.document
    said = {"title": document.title, "published": document.published}
    return ScoredDocument(
        **said | parsed.metadata.model_dump(exclude_none=True),
        id=parsed.sha256[:16],
        path=parsed.path,
        media_type=document.media_type,
        pages=document.pages,
        sha256=parsed.sha256,
        model=version,
        segmentation=SEGMENTATION,
        passages=passages,
        summary=report.summarise(passages),
    )


def relabelled(document: ScoredDocument, labels: Sequence[Classification], version: str) -> ScoredDocument:
    """A document with the labels that another model gave its passages in order."""
    passages = [
        passage.model_copy(update=dict(found)) for passage, found in zip(document.passages, labels, strict=True)
    ]
    return document.model_copy(update={"model": version, "passages": passages, "summary": report.summarise(passages)})


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

"""The documents that no model has learned from, as a model labels them: what its drift is told from.

A model is surer of what it has learned from than of what is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from labels import dataset, references, splits, taxonomy
from models.classifier import Classifier
from service import analysis
from service.errors import NoText
from service.report import ScoredDocument


def documents(classifier: Classifier, data: Sequence[Path], reports: Path | None) -> Iterator[ScoredDocument]:
    """Documents of dev and test, labelled anew: those of labelled data, and whole public reports where they are.

    data: files of labelled passages, every passage of a document in one of them; what they have of the public reports
    is a selection, and left out. reports: their folder. A document that holds nothing to score is left out, too. Raises
    DatasetError and OSError.
    """
    labelling = taxonomy.load()
    public = {reference.file: reference for reference in references.read(references.REFERENCES, labelling)}
    selected = {reference.document for reference in public.values()}
    examples = (e for e in dataset.load(data, labelling) if e.document not in selected and _is_held_out(e.group))
    for document, found in groupby(sorted(examples, key=lambda e: e.document), lambda e: e.document):
        passages = list(found)
        text = "\n\n".join(e.text for e in passages)
        with suppress(NoText):
            scored = analysis.analyse(text.encode(), classifier, f"{document}.txt")
            yield scored.model_copy(update={"kind": passages[0].kind, "council": passages[0].authority or None})
    if reports is None:
        return
    for file, reference in sorted(public.items()):
        if _is_held_out(reference.group):
            scored = analysis.analyse((reports / file).read_bytes(), classifier, file)
            yield scored.model_copy(update={"kind": references.KIND, "council": reference.authority})


def _is_held_out(group: str) -> bool:
    return splits.split_of(group) != "train"

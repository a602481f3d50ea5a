"""What a collection of scored documents comes to: the figures of `candour report`.

What is held is counts and the few passages and documents that are shown, however many passages are counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from labels.taxonomy import Taxonomy
from service import report
from service.report import Problem, ScoredPassage
from service.results import Document, Head, Results

NONE = "none"
# Passages that are shown.
SHARPEST = 12
# Fewer passages than these have counts and no share.
ENOUGH = 20
# More months than these are shown as years.
MONTHS = 36


@dataclass
class Count:
    """Documents and their passages. A passage has one primary stance, or `none`; one with two themes counts for both.

    labels: passages by every label that they have, such as stance/critical. stances: by primary stance. matrix: by
    theme (or `none`) and primary stance.
    """

    documents: int = 0
    passages: int = 0
    confident: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    stances: Counter[str] = field(default_factory=Counter)
    matrix: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: Count) -> None:
        self.documents += other.documents
        self.passages += other.passages
        self.confident += other.confident
        self.labels.update(other.labels)
        self.stances.update(other.stances)
        self.matrix.update(other.matrix)

    def theme(self, theme: str) -> int:
        """Passages on a theme, or on `none`."""
        return sum(count for (name, _), count in self.matrix.items() if name == theme)


@dataclass(frozen=True)
class Sharp:
    """A passage that is shown, and its document. position: its place among the document's passages, from 0."""

    document: Head
    passage: ScoredPassage
    position: int
    sharpness: float


@dataclass
class Change:
    """What became of an earlier state of the collection, whose passages are counted in `before`.

    A document is rescored where another model, or other rules of cutting passages, went over it; rescored_before and
    rescored_now count these documents alone. models: of the earlier state.
    """

    before: Count
    models: list[str]
    new: list[Head]
    gone: list[Head]
    rescored_before: Count
    rescored_now: Count


@dataclass
class Figures:
    """The counts of a collection: of all, by the month of publication, by council, kind and model.

    months has the first day of each month; a key is None for documents without a date, council or kind. sharpest: the
    sharpest of each document's three sharpest passages, words that are the same shown once. themes and stances: the
    names of the labels, in the taxonomy's order.
    """

    themes: list[str]
    stances: list[str]
    total: Count
    months: dict[date | None, Count]
    councils: dict[str | None, Count]
    kinds: dict[str | None, Count]
    models: dict[str, Count]
    first: date | None
    last: date | None
    sharpest: list[Sharp]
    failures: dict[str, Problem]
    change: Change | None

    @property
    def undated(self) -> Count:
        return self.months.get(None, Count())

    def periods(self) -> dict[str, Count]:
        """The dated documents by month (2024-05), or by year where these are more than MONTHS; none is left out."""
        if self.first is None or self.last is None:
            return {}
        months = [date(n // 12, n % 12 + 1, 1) for n in range(_month(self.first), _month(self.last) + 1)]
        form = "%Y-%m" if len(months) <= MONTHS else "%Y"
        found: dict[str, Count] = {}
        for month in months:
            period = found.setdefault(month.strftime(form).zfill(len("2024")), Count())
            period.add(self.months.get(month, Count()))
        return found

    def failed(self) -> dict[str, list[tuple[str, Problem]]]:
        """Failures by type, the most frequent first."""
        types: defaultdict[str, list[tuple[str, Problem]]] = defaultdict(list)
        for path, problem in self.failures.items():
            types[problem.type].append((path, problem))
        return dict(sorted(types.items(), key=lambda item: -len(item[1])))


def _month(day: date) -> int:
    return 12 * day.year + day.month - 1


def gather(results: Results, taxonomy: Taxonomy, before: Results | None = None) -> Figures:
    """Count the documents of a collection, and hold them against an earlier state of it."""
    rescored = _rescored(results, before) if before is not None else set()
    total, rescored_now = Count(), Count()
    months: defaultdict[date | None, Count] = defaultdict(Count)
    councils: defaultdict[str | None, Count] = defaultdict(Count)
    kinds: defaultdict[str | None, Count] = defaultdict(Count)
    models: defaultdict[str, Count] = defaultdict(Count)
    sharpest: list[Sharp] = []
    for document in results:
        counted = _count(document)
        month = document.published.replace(day=1) if document.published else None
        groups = [total, months[month], councils[document.council], kinds[document.kind], models[document.model]]
        for group in groups + [rescored_now] * (document.sha256 in rescored):
            group.add(counted)
        sharpest = _sharper(sharpest, document)
    change = _change(results, before, rescored, rescored_now) if before is not None else None
    named = total.labels + change.before.labels if change else total.labels
    dates = [head.published for head in results.heads.values() if head.published]
    return Figures(
        themes=_names("theme", taxonomy.themes, named),
        stances=_names("stance", taxonomy.stances, named),
        total=total,
        months=dict(months),
        councils=_by_size(councils),
        kinds=_by_size(kinds),
        models=_by_size(models),
        first=min(dates, default=None),
        last=max(dates, default=None),
        sharpest=sharpest,
        failures=results.failures,
        change=change,
    )


def _count(document: Document) -> Count:
    count = Count(documents=1, passages=len(document.passages))
    for passage in document.passages:
        primary = passage.primary_stance or NONE
        count.confident += passage.confident
        count.labels.update(f"theme/{name}" for name in passage.themes)
        count.labels.update(f"stance/{name}" for name in passage.stances)
        count.stances[primary] += 1
        count.matrix.update((theme, primary) for theme in passage.themes or [NONE])
    return count


def _sharper(shown: list[Sharp], document: Document) -> list[Sharp]:
    """The sharpest of those that are shown and those of a document, sharpest first, each text once."""
    sharp = report.summarise(document.passages).sharpest
    if not sharp:
        return shown
    head = Head.model_validate(document.model_dump(exclude={"passages"}))
    found = [Sharp(head, document.passages[n], n, report.sharpness(document.passages[n])) for n in sharp]
    by_text: dict[str, Sharp] = {}
    for candidate in sorted([*shown, *found], key=lambda one: -one.sharpness):
        by_text.setdefault(candidate.passage.text, candidate)
    return list(by_text.values())[:SHARPEST]


def _names(axis: str, known: tuple[str, ...], labels: Counter[str]) -> list[str]:
    """The labels of an axis: the taxonomy's, and then those of a model that has others."""
    found = {key.removeprefix(f"{axis}/") for key in labels if key.startswith(f"{axis}/")}
    return [*known, *sorted(found - set(known))]


Key = TypeVar("Key", bound=Hashable)


def _by_size(groups: Mapping[Key, Count]) -> dict[Key, Count]:
    """Groups by their passages, most first, and then by name; what has no name is last."""
    return dict(sorted(groups.items(), key=lambda item: (item[0] is None, -item[1].passages, str(item[0]))))


def _rescored(results: Results, before: Results) -> set[str]:
    return {
        sha256
        for sha256, head in results.heads.items()
        if (earlier := before.heads.get(sha256)) and _version(head) != _version(earlier)
    }


def _version(head: Head) -> tuple[str, str]:
    return head.model, head.segmentation


def _change(results: Results, before: Results, rescored: set[str], rescored_now: Count) -> Change:
    total, rescored_before = Count(), Count()
    for document in before:
        counted = _count(document)
        total.add(counted)
        if document.sha256 in rescored:
            rescored_before.add(counted)
    return Change(
        before=total,
        models=sorted({head.model for head in before.heads.values()}),
        new=_only(results, before),
        gone=_only(before, results),
        rescored_before=rescored_before,
        rescored_now=rescored_now,
    )


def _only(results: Results, other: Results) -> list[Head]:
    return [head for sha256, head in results.heads.items() if sha256 not in other.heads]

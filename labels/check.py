"""What is wrong, or doubtful, in labelled data: findings that name file and line.

An error is something that no run may train on; a warning is something that a person should look at. Likely label
errors need a model, and are found in training/labelling.py.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from labels import dataset, references, splits
from labels.dataset import Example, InvalidRow, Labels, RowError
from labels.passages import fingerprint, normalise
from labels.references import Reference
from labels.splits import Split
from labels.taxonomy import Taxonomy

# datasketch comes with the train extra; it is imported where it is used.

# Two passages are near-duplicates when they share this part of their word triples (Jaccard).
NEAR = 0.5
SHINGLE = 3
PERMUTATIONS = 64
# Fewer passages than this, and a label can be neither learnt nor measured.
FLOOR = 60
# A document with fewer passages has no context that a reader could judge it by.
CONTEXT = 3
_ACTUAL = re.compile(r".+-\d{4}-\d{2}-\d{2}/[0-9a-f]{12}")

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found at a line of a file. `check` is the short name of what was looked for."""

    severity: Severity
    check: str
    path: str
    line: int
    detail: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.detail} [{self.check}]"


@dataclass(frozen=True, slots=True)
class Row:
    """A valid row of either kind, and where it stands. text and title are None for a reference: they are not here."""

    path: str
    line: int
    id: str
    document: str
    authority: str
    group: str
    source: str
    year: str
    labels: Labels
    annotator: str
    sha256: str
    text: str | None
    title: str | None

    @property
    def verdict(self) -> Hashable:
        """What makes two labellings the same, whatever the order of their labels."""
        return frozenset(self.labels.themes), frozenset(self.labels.stances), self.labels.primary_stance

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Report:
    """All findings in order of file and line, and how the rows are spread."""

    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]
    # Title -> (row name -> count), for the tables that a reader wants beside the findings.
    tables: Mapping[str, Mapping[str, int]]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "warning"]


def packaged() -> list[Path]:
    """The files that are checked, and split, when none is named: those of the packaged set that are at hand."""
    return [path for path in (dataset.WRITTEN, references.REFERENCES, dataset.HYDRATED) if path.exists()]


def check(
    paths: Iterable[Path], taxonomy: Taxonomy, fixed: Mapping[str, Split] | None = None, floor: int = FLOOR
) -> Report:
    """Everything that can be found without a model.

    paths: JSONL of examples or references. fixed: where groups were fixed to go; default: the packaged splits.json.
    floor: the fewest passages of a label. Raises OSError where a file cannot be read.
    """
    fixed = splits.fixed() if fixed is None else fixed
    findings: list[Finding] = []
    rows: list[Row] = []
    for item in (item for path in paths for item in read(path, taxonomy)):
        (findings if isinstance(item, Finding) else rows).append(item)  # type: ignore[arg-type]
    rows = without_hydrated_twins(rows)
    sides = {row.group: fixed.get(row.group) or splits.hashed(row.group) for row in rows}
    findings += identities(rows)
    findings += repeated(rows, sides)
    findings += near_duplicates(rows, sides)
    findings += straddling(rows, sides)
    findings += unfixed(rows, fixed)
    findings += without_context(rows)
    findings += scarce(rows, taxonomy, floor)
    ordered = sorted(findings, key=lambda finding: (finding.path, finding.line))
    return Report(tuple(ordered), tuple(rows), tables(rows, sides, taxonomy))


def read(path: Path, taxonomy: Taxonomy) -> Iterator[Row | Finding]:
    """Each line as a Row, or as the error that keeps it from being one: bad JSON, schema, unknown labels."""
    for line, raw in dataset.json_lines(path):
        if isinstance(raw, RowError):
            yield Finding("error", "schema", raw.path, raw.line, raw.detail)
            continue
        try:
            if isinstance(raw, dict) and "sha256" in raw:
                yield row_of(dataset.parse(raw, Reference, taxonomy), str(path), line)
            else:
                yield row_of(dataset.parse(raw, Example, taxonomy), str(path), line)
        except InvalidRow as error:
            yield Finding("error", "schema", str(path), line, str(error))


def without_hydrated_twins(rows: list[Row]) -> list[Row]:
    """The rows less each reference that stands among them in full, under the same labels.

    A reference whose labels differ from the hydrated row's stays, and is found as one passage with two labels.
    """
    full = {(row.id, row.sha256, row.verdict) for row in rows if row.text is not None}
    return [row for row in rows if row.text is not None or (row.id, row.sha256, row.verdict) not in full]


def identities(rows: Iterable[Row]) -> Iterator[Finding]:
    """An id that stands twice."""
    seen: dict[str, Row] = {}
    for row in rows:
        if (first := seen.setdefault(row.id, row)) is not row:
            yield _finding("error", "id", row, f"id {row.id} stands at {first.place} too")


def repeated(rows: Iterable[Row], sides: Mapping[str, Split]) -> Iterator[Finding]:
    """The same normalised passage twice: an error under two labels or in two splits, else a warning."""
    by_hash: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_hash[row.sha256].append(row)
    for first, *others in by_hash.values():
        for row in others:
            if row.verdict != first.verdict:
                said = f"{_words(row)}, and there {_words(first)}"
                yield _finding("error", "two-labels", row, f"the same passage as {first.place} ({first.id}): {said}")
            if (here := sides[row.group]) != (there := sides[first.group]):
                detail = f"in {here}, the same passage as {first.place} ({first.id}) in {there}"
                yield _finding("error", "duplicate", row, detail)
            elif row.verdict == first.verdict:
                yield _finding("warning", "duplicate", row, f"the same passage as {first.place} ({first.id})")


def near_duplicates(rows: Iterable[Row], sides: Mapping[str, Split]) -> Iterator[Finding]:
    """Passages that share at least NEAR of their word triples: an error across splits, a warning within one.

    A passage is named once, with the earlier passage that is nearest to it; one of another split goes before.
    """
    by_row: dict[str, list[tuple[bool, float, Row]]] = defaultdict(list)
    held: dict[str, Row] = {}
    for first, row, share in pairs(rows):
        held[row.place] = row
        by_row[row.place].append((sides[row.group] != sides[first.group], share, first))
    for place, found in by_row.items():
        row = held[place]
        across, share, first = max(found, key=lambda item: item[:2])
        where = f", which is in {sides[first.group]} and this in {sides[row.group]}" if across else ""
        more = f"; so do {len(found) - 1} more" if len(found) > 1 else ""
        detail = f"{row.id} shares {share:.0%} of its word triples with {first.place} ({first.id}){where}{more}"
        yield _finding("error" if across else "warning", "near-duplicate", row, detail)


def pairs(rows: Iterable[Row]) -> list[tuple[Row, Row, float]]:
    """Near-duplicates that are not the same passage, in order of line, with their Jaccard similarity."""
    from datasketch import MinHash, MinHashLSH

    held = list({row.sha256: row for row in reversed([row for row in rows if row.text is not None])}.values())[::-1]
    triples = [shingles(row.text or "") for row in held]
    hashes = MinHash.bulk([[s.encode() for s in found] for found in triples], num_perm=PERMUTATIONS)
    index = MinHashLSH(threshold=NEAR, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
    near: list[tuple[Row, Row, float]] = []
    for number, minhash in enumerate(hashes):
        for other in sorted(index.query(minhash)):
            share = len(triples[number] & triples[other]) / len(triples[number] | triples[other])
            if share >= NEAR:
                near.append((held[other], held[number], share))
        index.insert(number, minhash)
    return near


def shingles(text: str) -> frozenset[str]:
    """The runs of SHINGLE words of a text, without case and punctuation; a shorter text is one run."""
    words = plain_words(text)
    return frozenset(" ".join(words[n : n + SHINGLE]) for n in range(max(1, len(words) - SHINGLE + 1)))


def plain_words(text: str) -> list[str]:
    """The words of a text as comparisons see them: normalised, lower case, letters and digits alone."""
    return re.findall(r"[^\W_]+", normalise(text).lower().replace("'", ""))


def straddling(rows: Sequence[Row], sides: Mapping[str, Split]) -> Iterator[Finding]:
    """A document in two splits, or one authority in two splits under two names; one name, written and real."""
    yield from _divided(rows, sides, "document", lambda row: row.document)
    yield from _divided(rows, sides, "authority", lambda row: place_name(row.authority))
    real = {place_name(row.authority) for row in rows if row.source.startswith("real")} - {""}
    told = set()
    for row in rows:
        name = place_name(row.authority)
        if name in real and not row.source.startswith("real") and row.document not in told:
            told.add(row.document)
            detail = f"{row.document} is written about {row.authority}, which really exists"
            yield _finding("warning", "real-name", row, detail)


def _divided(
    rows: Iterable[Row], sides: Mapping[str, Split], what: str, name: Callable[[Row], str]
) -> Iterator[Finding]:
    firsts: dict[str, dict[Split, Row]] = defaultdict(dict)
    for row in rows:
        if named := name(row):
            firsts[named].setdefault(sides[row.group], row)
    for named, found in firsts.items():
        for (here, row), (there, other) in combinations(found.items(), 2):
            elsewhere = f"in {there} as {other.group!r} ({other.place})"
            detail = f"the {what} {named} is in {here} as {row.group!r} and {elsewhere}"
            yield _finding("error", "leakage", row, detail)


def place_name(authority: str) -> str:
    """An authority's name without what kind of authority it is: 'Royal Borough of X' and 'x-council' are both 'x'.

    The one whose name is nothing else is 'london', the City of London.
    """
    words = plain_words(authority.replace("-", " ").replace("&", " "))
    names = [word for word in words if word not in _STYLES]
    return " ".join(names or [word for word in words if word == "london"] or words)


_STYLES = frozenset(
    {"council", "borough", "county", "city", "metropolitan", "district", "royal", "london", "unitary", "authority"}
    | {"local", "the", "of", "and", "corporation", "children", "childrens", "services"}
    | {"bc", "cbc", "cc", "dc", "lb", "mbc", "mdc", "rb", "ua"}
)


def unfixed(rows: Iterable[Row], fixed: Mapping[str, Split]) -> Iterator[Finding]:
    """Groups that the splits file does not hold yet: one finding, at the first of them."""
    lacking = {row.group: row for row in reversed([row for row in rows if row.group not in fixed])}
    if lacking:
        first = list(lacking.values())[-1]
        detail = f"{len(lacking)} groups are not in the splits file, such as {first.group!r}: run candour labels split"
        yield _finding("warning", "split", first, detail)


def without_context(rows: Iterable[Row]) -> Iterator[Finding]:
    """Written documents that have no title, or too few passages to be read as a document."""
    documents: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.text is not None and not row.source.startswith("real"):
            documents[row.document].append(row)
    for document, (first, *rest) in documents.items():
        if not (first.title or "").strip():
            yield _finding("warning", "context", first, f"{document} has no title")
        if 1 + len(rest) < CONTEXT:
            yield _finding("warning", "context", first, f"{document} has only {1 + len(rest)} passages")


def scarce(rows: Sequence[Row], taxonomy: Taxonomy, floor: int) -> Iterator[Finding]:
    """Labels with fewer passages than the floor."""
    path = rows[0].path if rows else ""
    for key, count in _label_counts(rows, taxonomy).items():
        if count < floor:
            yield Finding("warning", "count", path, 0, f"{key} has {count} passages, fewer than {floor}")


def tables(rows: Sequence[Row], sides: Mapping[str, Split], taxonomy: Taxonomy) -> dict[str, dict[str, int]]:
    """How many passages there are by label, source, year, annotator and split."""
    columns: dict[str, Callable[[Row], str]] = {
        "source": lambda row: row.source,
        "year": lambda row: row.year,
        "annotator": lambda row: row.annotator,
        "split": lambda row: sides[row.group],
    }
    spread = {title: dict(sorted(Counter(map(column, rows)).items())) for title, column in columns.items()}
    return {"label": _label_counts(rows, taxonomy), **spread}


def _label_counts(rows: Iterable[Row], taxonomy: Taxonomy) -> dict[str, int]:
    counts = dict.fromkeys((*taxonomy.keys, "none"), 0)
    for row in rows:
        named = [key for key, on in zip(taxonomy.keys, row.labels.vector(taxonomy), strict=True) if on]
        for key in named or ["none"]:
            counts[key] += 1
    return counts


def row_of(found: Example | Reference, path: str, line: int) -> Row:
    """A valid row as the checks see it."""
    if isinstance(found, Reference):
        return _row(found, path, line, f"real {references.KIND}", found.sha256)
    real = found.kind == references.KIND and _ACTUAL.fullmatch(found.id)
    source = f"real {references.KIND}" if real else found.kind
    return _row(found, path, line, source, fingerprint(found.text), found.text, found.title)


def _row(
    found: Example | Reference,
    path: str,
    line: int,
    source: str,
    sha256: str,
    text: str | None = None,
    title: str | None = None,
) -> Row:
    year = str(found.published.year) if found.published else "none"
    return Row(
        path, line, found.id, found.document, found.authority, found.group, source, year, found, found.annotator,
        sha256, text, title,
    )  # fmt: skip


def _finding(severity: Severity, check: str, row: Row, detail: str) -> Finding:
    return Finding(severity, check, row.path, row.line, detail)


def _words(row: Row) -> str:
    said = [*row.labels.themes, *row.labels.stances]
    return (", ".join(said) or "nothing") + (f"; primary {row.labels.primary_stance}" if said else "")

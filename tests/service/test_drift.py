"""Drift: it fires on another subject, stays quiet on another month of the same, and says so on the command line."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from labels import dataset, splits, taxonomy
from models import classifier, registry
from models.classifier import Classifier
from models.network import Network
from service import analysis, drift, outputs
from service.api import drift as watched
from service.api.app import create_app
from service.drift import Drift, Profile, Reference
from service.drift_cli import drift as command
from service.errors import InvalidInput
from service.report import ScoredDocument
from service.settings import Settings
from service.store import opened

# Runs that are tried, and how many of them may drift: were the promise of 1% just kept, more would in one case of 500.
RUNS, MOST = 25, 2
app = typer.Typer()
app.command()(command)


class Remembering(Network):
    """The network, which computes the embedding of a text once."""

    known: ClassVar[dict[str, np.ndarray]] = {}

    def embeddings(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in texts if text not in self.known]
        self.known.update(zip(new, super().embeddings(new), strict=True))
        return np.array([self.known[text] for text in texts])


@pytest.fixture(scope="module")
def champion() -> Classifier:
    """The shipped model."""
    loaded = classifier.load()
    return replace(loaded, network=Remembering(**{f.name: getattr(loaded.network, f.name) for f in fields(Network)}))


@pytest.fixture(scope="module")
def written(champion: Classifier) -> list[tuple[ScoredDocument, date | None]]:
    """The written documents that the model has not learned from, scored, and when they are dated."""
    examples = [e for e in dataset.load([dataset.WRITTEN], taxonomy.load()) if splits.split_of(e.group) != "train"]
    found = []
    for name, passages in groupby(sorted(examples, key=lambda e: e.document), lambda e: e.document):
        whole = list(passages)
        text = "\n\n".join(e.text for e in whole)
        document = analysis.analyse(text.encode(), champion, f"{name}.txt")
        about = {"kind": whole[0].kind, "council": whole[0].authority or None, "published": whole[0].published}
        found.append((document.model_copy(update=about), whole[0].published))
    return found


@pytest.fixture(scope="module")
def schools(champion: Classifier) -> list[ScoredDocument]:
    """Inspection reports on twelve invented schools: another subject in much the same genre."""
    texts = Path(__file__).with_name("schools.txt").read_text(encoding="utf-8").split("---\n")
    found = [analysis.analyse(text.encode(), champion, f"school-{n}.txt") for n, text in enumerate(texts)]
    assert len(found) == 12
    return [document.model_copy(update={"kind": "inspection_report"}) for document in found]


@pytest.fixture(scope="module")
def shipped() -> Reference:
    """The reference beside the shipped model."""
    return drift.read(drift.beside(registry.PACKAGED, registry.CHAMPION))


def compared(before: Reference, today: Sequence[ScoredDocument], champion: Classifier) -> Drift:
    return drift.compare(before, [before.profile(document, champion) for document in today])


def test_school_reports_drift(shipped: Reference, schools: list[ScoredDocument], champion: Classifier) -> None:
    (source,) = compared(shipped, schools, champion).sources
    assert (source.kind, source.like, source.documents) == ("inspection_report", True, 12)
    figures = {figure.name: figure for figure in source.figures}
    assert figures["vocabulary"].drifted and figures["vocabulary"].today > figures["vocabulary"].reference + 1
    assert figures["embedding"].drifted and figures["embedding"].today > 2 * figures["embedding"].reference
    assert figures["theme/leadership"].drifted and figures["theme/care_planning"].drifted


def test_school_reports_drift_from_written_inspections_of_their_length(
    written: list[tuple[ScoredDocument, date | None]], schools: list[ScoredDocument], champion: Classifier
) -> None:
    inspections = [d for d, _ in written if d.kind in ("inspection_report", "inspection_letter")]
    same = [document.model_copy(update={"kind": "inspection_report"}) for document in inspections]
    (source,) = compared(drift.reference(same, champion), schools, champion).sources
    drifted = {figure.name for figure in source.figures if figure.drifted}
    assert {"vocabulary", "embedding"} <= drifted and "words" not in drifted


def test_another_month_of_the_same_is_quiet(
    written: list[tuple[ScoredDocument, date | None]], champion: Classifier
) -> None:
    documents = [document for document, _ in written]
    councils = sorted({document.council or document.id for document in documents})
    loud = 0
    for run in range(RUNS):
        month = set(np.random.default_rng(run).permutation(councils)[: len(councils) // 3])
        today = [d for d in documents if (d.council or d.id) in month]
        before = drift.reference([d for d in documents if (d.council or d.id) not in month], champion)
        found = compared(before, today, champion)
        assert len(found.sources) >= 5
        loud += found.drifted
    assert loud <= MOST


def test_the_latest_documents_are_like_the_earlier_ones(
    written: list[tuple[ScoredDocument, date | None]], champion: Classifier
) -> None:
    dated = [document for document, _ in sorted(written, key=lambda one: one[1] or date.min)]
    cut = 3 * len(dated) // 4
    assert not compared(drift.reference(dated[:cut], champion), dated[cut:], champion).drifted


def test_another_month_of_real_reports_is_quiet(shipped: Reference) -> None:
    reports = [profile for profile in shipped.documents if profile.kind == "inspection_report"]
    assert len(reports) > 60
    loud = 0
    for run in range(RUNS):
        order = np.random.default_rng(run).permutation(len(reports))
        today, rest = [reports[n] for n in order[:12]], tuple(reports[n] for n in order[12:])
        loud += drift.compare(shipped.model_copy(update={"documents": rest}), today).drifted
    assert loud <= MOST


def profiles(count: int, share: float, kind: dataset.Kind | None, council: str | None = None) -> list[Profile]:
    """Documents of ten passages, of which a label has about a share."""
    chance = np.random.default_rng(count)
    return [
        Profile(kind=kind, council=council, passages=10, sums=(float(chance.binomial(10, share)),))
        for _ in range(count)
    ]


def made(documents: Sequence[Profile]) -> Reference:
    return Reference(model="m", figures=("theme/a",), words={}, centre=(), directions=(), documents=tuple(documents))


def test_kinds_are_compared_with_their_like() -> None:
    before = made([*profiles(40, 0.8, "inspection_report"), *profiles(41, 0.2, "blog")])
    assert not drift.compare(before, profiles(30, 0.2, "blog")).drifted
    found = drift.compare(before, [*profiles(30, 0.2, "blog"), *profiles(31, 0.2, "inspection_report")])
    assert [(source.kind, source.figures[0].drifted) for source in found.sources] == [
        ("blog", False),
        ("inspection_report", True),
    ]
    (unknown,) = drift.compare(before, profiles(30, 0.5, "minutes")).sources
    assert not unknown.like and unknown.reference_documents == 81
    (none,) = drift.compare(made(profiles(9, 0.2, None)), profiles(8, 0.2, None)).sources
    assert none.like and none.name == "none"


def test_one_council_can_drift_in_a_kind_that_does_not() -> None:
    before = made([*profiles(60, 0.3, "blog", "Oxmarsh"), *profiles(61, 0.3, "blog", "Tarnholme")])
    found = drift.compare(before, [*profiles(59, 0.3, "blog", "oxmarsh"), *profiles(6, 0.9, "blog", "Tarnholme")])
    drifted = {source.name: source.figures[0].drifted for source in found.sources}
    assert drifted == {"blog": False, "blog, oxmarsh": False, "blog, Tarnholme": True}


def test_figures_against_a_count_by_hand() -> None:
    here, there = profiles(7, 0.5, "blog"), profiles(9, 0.3, "blog")
    (source,) = drift.compare(made(there), here).sources
    (figure,) = source.figures
    means = [sum(profile.sums[0] for profile in part) / (10 * len(part)) for part in (here, there)]
    assert [figure.today, figure.reference] == pytest.approx(means)
    # Of documents of one length, the standard deviation of the difference when drawn apart is known.
    values = np.array([profile.sums[0] / 10 for profile in (*here, *there)])
    expected = abs(means[0] - means[1]) / math.sqrt(values.var(ddof=1) * (1 / 7 + 1 / 9))
    assert figure.distance == pytest.approx(expected, rel=0.06)


def test_of_a_few_documents_nothing_can_be_told() -> None:
    found = drift.compare(made(profiles(20, 0.1, "blog")), profiles(1, 0.99, "blog"))
    assert found.unknown == ["blog"] and not found.sources and not found.drifted
    assert drift.compare(made(profiles(300, 0.1, "blog")), profiles(1, 0.99, "blog")).drifted


def test_a_figure_that_never_changes_does_not_drift() -> None:
    always = [Profile(kind="blog", council=None, passages=n, sums=(0.1 * n,)) for n in range(1, 30)]
    assert not drift.compare(made(always[::2]), always[1::2]).drifted


def test_the_words_of_a_document_are_judged_by_the_others(champion: Classifier) -> None:
    def scored(text: str, council: str | None) -> ScoredDocument:
        return analysis.analyse(text.encode(), champion).model_copy(update={"council": council})

    common = "The council said that the plans of children were late and that reviews were missed again."
    rare = "Xylophones outnumber zithers wherever glockenspiels accompany bassoons beneath moonlit pergolas."
    documents = [scored(f"{common} It was paper {n}.", None) for n in range(8)]
    twice = [scored(f"{rare} It was paper {n}.", "Oxmarsh") for n in range(2)]
    found = drift.reference([*documents, *twice], champion)
    vocabulary = found.figures.index("vocabulary")
    bits = [profile.sums[vocabulary] / profile.passages for profile in found.documents]
    new = found.profile(scored(f"{rare} It was paper nine.", None), champion)
    # Words that only the documents on one council have are new to both of them; to another document they are not.
    assert min(bits[8:]) > max(bits[:8]) + 2 and bits[8] > new.sums[vocabulary] / new.passages
    assert "oxmarsh" not in found.words and found.words["council"] == 8


def test_no_text_is_kept(schools: list[ScoredDocument], champion: Classifier, tmp_path: Path) -> None:
    made = drift.reference(schools, champion)
    drift.write(tmp_path / "drift.json", made)
    kept = (tmp_path / "drift.json").read_text()
    assert not any(passage.text[:40] in kept for document in schools for passage in document.passages)
    assert drift.read(tmp_path / "drift.json") == made


def lines(path: Path, documents: Sequence[ScoredDocument]) -> str:
    path.write_text("".join(map(outputs.line, documents)), encoding="utf-8")
    return str(path)


def test_the_command_says_what_drifted(
    schools: list[ScoredDocument], written: list[tuple[ScoredDocument, date | None]], tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, [lines(tmp_path / "schools.jsonl", schools)])
    assert result.exit_code == 3 and "drifted: chance alone" in result.stdout
    assert re.search(r"inspection_report +12 +66 +vocabulary", result.stdout)
    results = lines(tmp_path / "written.jsonl", [document for document, _ in written])
    made = str(tmp_path / "made.json")
    assert CliRunner().invoke(app, [results, "--make-reference", made]).exit_code == 0
    quiet = CliRunner().invoke(app, [results, "--reference", made, "-o", str(tmp_path / "found.json")])
    assert quiet.exit_code == 0 and quiet.stdout == ""
    found = Drift.model_validate_json((tmp_path / "found.json").read_text())
    assert found.false_alarms == 0.01 and sum(source.documents for source in found.sources if not source.council) > 100
    late = CliRunner().invoke(app, [results, "--since", "2023-01-01", "-o", str(tmp_path / "late.json")])
    assert late.exit_code in (0, 3)
    counted = json.loads((tmp_path / "late.json").read_text())["sources"]
    since = sum(day is not None and day >= date(2023, 1, 1) for _, day in written)
    assert 0 < sum(source["documents"] for source in counted if not source["council"]) <= since < len(written)


def test_the_store_is_read_to_its_end(
    schools: list[ScoredDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'candour.db'}"
    with opened(url) as store:
        for document in schools:
            store.put(document)
    monkeypatch.setenv("CANDOUR_DATABASE", url)
    monkeypatch.setattr("service.drift_cli.LISTED", 5)
    result = CliRunner().invoke(app, ["--store", "-o", str(tmp_path / "found.json")])
    assert result.exit_code == 3
    (source,) = json.loads((tmp_path / "found.json").read_text())["sources"]
    assert source["documents"] == 12


def test_of_the_store_what_another_model_labelled_is_left_out(
    schools: list[ScoredDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'candour.db'}"
    with opened(url) as store:
        for number, document in enumerate(schools):
            store.put(document if number < 10 else document.model_copy(update={"model": "older"}))
    monkeypatch.setenv("CANDOUR_DATABASE", url)
    result = CliRunner().invoke(app, ["--store", "-o", str(tmp_path / "found.json")])
    assert result.exit_code == 3 and f"labelled {len(schools) - 10} by older" in result.stderr
    (source,) = json.loads((tmp_path / "found.json").read_text())["sources"]
    assert source["documents"] == 10


def test_what_cannot_be_compared_says_why(schools: list[ScoredDocument], tmp_path: Path) -> None:
    runner, results = CliRunner(), lines(tmp_path / "schools.jsonl", schools)
    assert runner.invoke(app, []).exit_code == 2 and runner.invoke(app, [results, "--store"]).exit_code == 2
    missing = runner.invoke(app, [results, "--reference", str(tmp_path / "none.json")])
    assert isinstance(missing.exception, InvalidInput) and "`candour models reference`" in str(missing.exception)
    (tmp_path / "other.json").write_text("{}")
    wrong = runner.invoke(app, [results, "--reference", str(tmp_path / "other.json")])
    assert isinstance(wrong.exception, InvalidInput)
    others = lines(tmp_path / "others.jsonl", [d.model_copy(update={"model": "older"}) for d in schools])
    assert "labelled by older" in str(runner.invoke(app, [others]).exception)
    mixed = lines(tmp_path / "mixed.jsonl", [schools[0], schools[1].model_copy(update={"model": "older"})])
    both = runner.invoke(app, [mixed, "--make-reference", str(tmp_path / "made.json")])
    assert "labelled, not" in str(both.exception) and not (tmp_path / "made.json").exists()
    few = runner.invoke(app, [lines(tmp_path / "few.jsonl", schools[:1])])
    assert "too few documents to compare anything: inspection_report" in str(few.exception)
    empty = runner.invoke(app, [results, "--since", "2031-01-01"])
    assert "no scored document" in str(empty.exception)


def test_the_metric_shows_what_drifts(
    schools: list[ScoredDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "EVERY", 0.01)
    url = f"sqlite:///{tmp_path / 'candour.db'}"
    with TestClient(create_app(Settings(database=url)), client=("127.0.0.1", 1)) as client:
        assert "candour_drift{" not in client.get("/metrics").text
    with opened(url) as store:
        for document in schools:
            store.put(document)
    with TestClient(create_app(Settings(database=url)), client=("127.0.0.1", 1)) as client:
        shown = ""
        while 'figure="vocabulary"' not in shown:
            shown = client.get("/metrics").text
    values = dict(re.findall(r'candour_drift\{figure="([^"]+)",kind="inspection_report"\} ([0-9.]+)', shown))
    assert float(values["vocabulary"]) > 1 and float(values["embedding"]) > 1

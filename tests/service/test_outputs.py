"""What is written is whole, is kept, and is added to."""

import csv
import io
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from models.classifier import Classifier
from service import analysis, outputs, render
from service.batch import Tally
from service.errors import NotAnOutput, OutputInUse
from service.outputs import News, Stored, version_of
from service.report import Failure, Problem, ScoredDocument
from service.store import Store

THEMES, STANCES = ["thresholds", "care_planning", "missing_children", "leadership"], [
    "critical", "defensive", "apologetic", "supportive",
]  # fmt: skip
ENDINGS = [".jsonl", ".csv", ".parquet"]
FAILED = Failure(path="bad.pdf", error=Problem(type="damaged-document", detail="cut short"))


@pytest.fixture(scope="module")
def made(champion: Classifier) -> list[ScoredDocument]:
    """Documents of one to three passages, one with what spreadsheets and tables trip over."""
    texts = [
        '=Plans; drift, "they" said.\n\nReviews \u2013 all of them \u2013 were late.\n\n+ Visits were missed.',
        *(f"Plan {n} drifts.\n\nVisit {n} was late." for n in range(6)),
    ]
    found = [analysis.analyse(text.encode(), champion, f"{n}.txt") for n, text in enumerate(texts)]
    known = {
        "title": "=1+1\nand more",
        "council": "Tarnholme",
        "published": date(2026, 5, 4),
        "url": "https://t.example/",
    }
    return [found[0].model_copy(update=known), *found[1:]]


def write(path: Path, results: list[ScoredDocument | Failure], bom: bool = False) -> None:
    with outputs.opened(path, THEMES, STANCES, bom) as output:
        for result in results:
            output.write(result)


def rows(path: Path) -> list[dict[str, object]]:
    """The passages in an output, as its readers see them."""
    if path.suffix == ".parquet":
        found: list[dict[str, object]] = pq.read_table(path).to_pylist()
        return found
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [dict(row) for row in csv.DictReader(file)]
    documents = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [passage | {"sha256": d["sha256"]} for d in documents if "error" not in d for passage in d["passages"]]


def counts(path: Path) -> Counter[object]:
    return Counter(row["sha256"] for row in rows(path))


def expected(documents: list[ScoredDocument]) -> Counter[object]:
    return Counter({document.sha256: len(document.passages) for document in documents})


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_second_run_adds_to_the_first(tmp_path: Path, made: list[ScoredDocument], ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write(path, [*made[:3]])
    with outputs.opened(path, THEMES, STANCES) as output:
        version = version_of(made[0].model, made[0].segmentation)
        assert [output.version(d.sha256) for d in made[:4]] == [version] * 3 + [None]
        for document in made[3:]:
            output.write(document)
    assert counts(path) == expected(made)
    assert [row["text"] for row in rows(path)][:3] == [
        ("'" + p.text if ending == ".csv" and p.text[0] in "=+" else p.text) for p in made[0].passages
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_newer_result_takes_the_place_of_the_older(tmp_path: Path, made: list[ScoredDocument], ending: str) -> None:
    path = tmp_path / f"out{ending}"
    older = made[1].model_copy(
        update={"model": "old", "passages": [p.model_copy(update={"model": "old"}) for p in made[1].passages]}
    )
    write(path, [made[0], older, made[2]])
    write(path, [made[1]])
    assert counts(path) == expected(made[:3])
    assert {row["model"] for row in rows(path)} == {made[0].model}


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_a_tail_torn_anywhere_is_cut_off(tmp_path: Path, made: list[ScoredDocument], ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write(path, [*made[:2]])
    whole = path.read_bytes()
    first = len(whole) - len(_last(path, made, ending))
    for cut in [0, 1, 2, *random.Random(1).sample(range(len(whole)), 40), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        write(path, [])
        left = path.read_bytes()
        assert left in (whole[:first], b"" if ending == ".jsonl" else whole[: whole.index(b"\n") + 1]), cut
        write(path, [d for d in made[:2] if d.sha256 not in counts(path)])
        assert path.read_bytes() == whole


def _last(path: Path, made: list[ScoredDocument], ending: str) -> bytes:
    alone = path.with_name(f"alone{ending}")
    write(alone, [made[1]])
    return alone.read_bytes().split(b"\n", 1)[1] if ending == ".csv" else alone.read_bytes()


def test_failures_stand_among_lines_until_the_file_can_be_read(tmp_path: Path, made: list[ScoredDocument]) -> None:
    path = tmp_path / "out.jsonl"
    write(path, [made[0], FAILED])
    write(path, [FAILED])
    assert [json.loads(line).get("path") for line in path.read_text().splitlines()] == ["0.txt", "bad.pdf"]
    write(path, [made[1].model_copy(update={"path": "bad.pdf"})])
    assert "error" not in path.read_text()


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_failures_of_a_table_are_those_of_the_last_run(tmp_path: Path, made: list[ScoredDocument], ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write(path, [made[0], FAILED])
    assert json.loads(outputs.errors_of(path).read_text()) == FAILED.body()
    write(path, [made[1]])
    assert not outputs.errors_of(path).exists() and counts(path) == expected(made[:2])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"id": 1, "text": "Not a result."}\n'),
        ("a.jsonl", b"Prose.\nMore of it.\n"),
        ("a.csv", b"name,age\nRowan,4\n"),
        ("a.parquet", b"PAR1"),
    ],
)
def test_the_files_of_others_are_left_alone(
    tmp_path: Path, made: list[ScoredDocument], name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(NotAnOutput, match="move it away"):
        write(path, [*made])
    assert path.read_bytes() == content


def test_a_table_of_other_labels_is_left_alone(tmp_path: Path, made: list[ScoredDocument]) -> None:
    for ending in (".csv", ".parquet"):
        path = tmp_path / f"out{ending}"
        write(path, [*made])
        with pytest.raises(NotAnOutput, match="columns"), outputs.opened(path, [*THEMES, "housing"], STANCES):
            pass
        assert counts(path) == expected(made)


@pytest.mark.parametrize("ending", ENDINGS)
def test_two_runs_do_not_write_to_one_output(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    with outputs.opened(path, THEMES, STANCES), pytest.raises(OutputInUse), outputs.opened(path, THEMES, STANCES):
        pass
    with outputs.opened(path, THEMES, STANCES):
        pass


def test_excel_knows_the_encoding_if_asked(tmp_path: Path, made: list[ScoredDocument]) -> None:
    path = tmp_path / "out.csv"
    write(path, [made[0]], bom=True)
    write(path, [made[1]], bom=True)
    assert path.read_bytes().startswith(b"\xef\xbb\xbfdocument,")
    assert path.read_bytes().count(b"\xef\xbb\xbf") == 1 and counts(path) == expected(made[:2])


def test_no_cell_begins_a_formula(tmp_path: Path, made: list[ScoredDocument]) -> None:
    path = tmp_path / "out.csv"
    write(path, [*made])
    cells = [cell for row in rows(path) for cell in row.values()]
    assert not any(str(cell).startswith(("=", "+", "@", "\t", "\r")) for cell in cells)
    assert {"'=1+1\nand more"} <= set(cells)


def test_shards_are_whole_and_many(tmp_path: Path, made: list[ScoredDocument], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "SHARD", 4)
    path = tmp_path / "out.parquet"
    write(path, [*made])
    assert [shard.name for shard in sorted(path.iterdir())] == [f"part-{n:05}.parquet" for n in range(4)]
    assert counts(path) == expected(made)


def test_news_is_what_is_new_to_one_of_the_outputs(tmp_path: Path, made: list[ScoredDocument], store: Store) -> None:
    version = version_of(made[0].model, made[0].segmentation)
    store.put(made[0])
    store.put(made[1].model_copy(update={"model": "old"}))
    with outputs.opened(tmp_path / "out.jsonl", THEMES, STANCES) as lines:
        lines.write(made[0])
    with outputs.opened(tmp_path / "out.jsonl", THEMES, STANCES) as lines:
        both = News([lines, Stored(store)], version, rescore=False)
        assert [both.is_known(d.sha256) for d in made[:3]] == [True, False, False]
    kept, anew = News([Stored(store)], version, rescore=False), News([Stored(store)], version, rescore=True)
    assert [kept.is_known(d.sha256) for d in made[:3]] == [True, True, False] and kept.outdated == 1
    assert [anew.is_known(d.sha256) for d in made[:3]] == [True, False, False]
    assert not News([], version, rescore=False).is_known(made[0].sha256)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("many")
    for n in range(400):
        (folder / f"{n:03}.txt").write_text("\n\n".join(f"Plan {n} of child {m} drifts." for m in range(1 + n % 5)))
    yield folder


RUN = """
import sys
from service import outputs, cli
outputs.SHARD = 20
sys.argv = ["candour", "score", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_that_is_killed_is_finished_by_the_same_command(tmp_path: Path, many: Path, ending: str) -> None:
    """Killed seven times for each kind of output, a random while after results have begun to come."""
    path = tmp_path / f"out{ending}"
    command = [sys.executable, "-c", RUN, many, "-o", path]
    chance = random.Random(ending)
    parts = []
    for _ in range(7):
        before = _size(path)
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None and _size(path) == before:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.15))
            run.send_signal(signal.SIGKILL)
        if ending == ".parquet":
            parts.append(len(set(pq.read_table(path)["sha256"].to_pylist())) if list(path.glob("*.parquet")) else 0)
        else:
            parts.append(path.read_bytes().count(b"\n"))
    assert len(set(parts)) > 1  # some were killed in the middle
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    found = counts(path)
    assert len(found) == 400 and sorted(found.values()) == sorted(1 + n % 5 for n in range(400))
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def _size(path: Path) -> int:
    files = path.glob("*.parquet") if path.is_dir() else [path] if path.exists() else []
    return sum(file.stat().st_size for file in files)


def test_what_is_left_is_reckoned_from_what_was_scored_and_not_from_what_was_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(render.time, "perf_counter", lambda: clock[0])
    said = io.StringIO()
    tally = Tally(known=900)
    with render.progress(Console(file=said, width=200), tally, 1_000) as advance:
        for _ in range(50):
            clock[0] += 2.0
            tally.documents += 1
            advance()
    assert said.getvalue().splitlines() == [
        "candour: 903 of 1000 documents, about 0:03:14 left",
    ]

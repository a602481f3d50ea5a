"""Reading and writing labelled passages, and what the packaged set must be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from labels import check, dataset, taxonomy
from labels.dataset import WRITTEN, DatasetError, Example, InvalidRow
from service.documents import read
from service.errors import DocumentError

TAXONOMY = taxonomy.load()
ROOT = Path(__file__).parents[2]
REPORTS = Path(os.environ.get("CANDOUR_REPORTS", ROOT.parent / "shared" / "reports"))
ROW = {
    "id": "x/1", "document": "x", "kind": "blog", "title": "On visits", "authority": "Quillshire", "text": "Late.",
    "published": "2021-02-03", "annotator": "someone", "guide": "1.0", "themes": ["leadership"],
    "stances": ["critical"], "primary_stance": "critical",
}  # fmt: skip
N = 8


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_every_row_that_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "x.jsonl", ROW, "{", "", ROW | {"themes": ["weather"]}, ROW | {"text": " "}, ROW | {"extra": 1},
        ROW | {"primary_stance": "defensive"}, ROW | {"primary_stance": None}, ROW | {"stances": []}, "[" * 100_000,
        ROW | {"themes": ["leadership", "leadership"]}, ROW | {"kind": "poem"}, ROW | {"text": "\ud800"},
    )  # fmt: skip
    with pytest.raises(DatasetError) as caught:
        dataset.load([path], TAXONOMY)
    assert [error.line for error in caught.value.errors] == [2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    said = str(caught.value)
    for words in (
        "not JSON",
        "unknown theme 'weather'",
        "text: ",
        "extra: ",
        "not one of the stances",
        "without a stance",
    ):
        assert words in said
    assert f"{path}:4: unknown theme" in said


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    row = dataset.parse(ROW | {"text": 'A "quoted" line\nand – another', "published": None}, Example, TAXONOMY)
    dataset.write(tmp_path / "x.jsonl", [row])
    assert dataset.load([tmp_path / "x.jsonl"], TAXONOMY) == [row]
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_parse_says_what_is_wrong() -> None:
    with pytest.raises(InvalidRow, match="annotator: Field required"):
        dataset.parse({name: value for name, value in ROW.items() if name != "annotator"}, Example, TAXONOMY)
    with pytest.raises(InvalidRow, match="unknown stance"):
        dataset.parse(ROW | {"stances": ["cross"], "primary_stance": "cross"}, Example, TAXONOMY)


def test_a_group_is_an_authority_or_a_document() -> None:
    example = Example.model_validate(ROW)
    assert example.group == "quillshire"
    assert example.model_copy(update={"authority": " "}).group == "document:x"


def test_the_digest_does_not_depend_on_the_order() -> None:
    one, other = Example.model_validate(ROW), Example.model_validate(ROW | {"id": "x/2"})
    assert dataset.digest([one, other]) == dataset.digest([other, one])
    assert dataset.digest([one]) != dataset.digest([one.model_copy(update={"stances": ()})])


def test_the_written_set_is_as_large_and_as_varied_as_it_must_be() -> None:
    examples = dataset.load([WRITTEN], TAXONOMY)
    assert len(examples) >= 2_500
    assert len({example.document for example in examples}) >= 200
    for stance in ("defensive", "apologetic"):
        assert sum(stance in example.stances for example in examples) >= 350, stance
    assert sum(not example.themes and not example.stances for example in examples) >= 500


def ngrams(text: str) -> Iterator[int]:
    words = check.plain_words(text)
    return (hash(tuple(words[n : n + N])) for n in range(len(words) - N + 1))


def ours() -> Iterator[tuple[str, str]]:
    """Name and text of everything in the repository that was written to be read as a document."""
    theirs = (dataset.HYDRATED, dataset.UNLABELLED)
    for path in sorted((*dataset.DATA.glob("*.jsonl"), *(ROOT / "training" / "behaviour").glob("*.jsonl"))):
        for line, row in dataset.json_lines(path) if path not in theirs else ():
            for field in {"text", "before", "after"} & row.keys():
                yield f"{path.name}:{line} {row.get('id')} {field}", row[field]
    for path in sorted((ROOT / "samples").rglob("*")):
        if path.is_file():
            try:
                yield path.name, read(path.read_bytes()).text
            except DocumentError:
                continue


@pytest.mark.reports
@pytest.mark.skipif(not REPORTS.is_dir(), reason="the real reports are not at hand")
def test_no_eight_words_in_a_row_are_those_of_a_real_report() -> None:
    theirs: set[int] = set()
    for path in REPORTS.glob("*.pdf"):
        try:
            theirs.update(ngrams(read(path.read_bytes()).text))
        except DocumentError:
            continue
    assert len(theirs) > 500_000
    taken = {}
    for name, text in ours():
        words = check.plain_words(text)
        if found := [" ".join(words[n : n + N]) for n, gram in enumerate(ngrams(text)) if gram in theirs]:
            taken[name] = found
    assert not taken

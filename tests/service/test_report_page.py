"""`candour report`: its figures against counts made here, and a page that does no harm and fetches nothing."""

import json
import re
import sys
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import pytest
import typer
from lxml import etree, html
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from labels import taxonomy
from models.classifier import Classifier
from service import analysis, figures, outputs, report_page
from service.errors import InvalidInput
from service.report import Failure, Problem, ScoredDocument, Scores
from service.report_cli import report
from service.results import Head, Results

TAXONOMY = taxonomy.load()
STANCES = [*TAXONOMY.stances, "none"]
THEMES = [*TAXONOMY.themes, "none"]
MADE = datetime(2031, 5, 6, 7, 8)
PASSAGES = [
    "Inspectors found that too many children wait too long for help, and thresholds are not understood.",
    "We are sorry. We let children down and we accept every finding of the inspectors.",
    "The council had already identified these problems and has invested four million pounds in its front door.",
    "Leaders know their services well, and staff are proud to work here.",
    "Return interviews are late for most children who go missing, and nobody asks where they were.",
    "Reviewing officers raised the drift in the plans of children in care three times, and nobody answered.",
    "The library opens at nine, and at ten in the holidays.",
]
ABOUT = [
    ("Tarnholme", "inspection_report", date(2029, 11, 3)),
    ("Tarnholme", "council_release", date(2029, 11, 20)),
    ("Tarnholme", "council_release", date(2030, 2, 1)),
    ("Oxmarsh", "local_news", date(2030, 2, 9)),
    (None, "local_news", None),
    ("Oxmarsh", None, date(2030, 3, 31)),
]


@pytest.fixture(scope="module")
def documents(champion: Classifier) -> list[ScoredDocument]:
    """Six documents of ten passages each, scored by the shipped model."""
    made = []
    for n, (council, kind, published) in enumerate(ABOUT):
        texts = [f"{PASSAGES[(n * i) % 7]} It was said in room {n}{i} of the hall." for i in range(1, 11)]
        document = analysis.analyse("\n\n".join(texts).encode(), champion, f"papers/{n}.txt")
        about = {"title": f"Paper {n}", "council": council, "kind": kind, "published": published}
        made.append(document.model_copy(update=about | {"url": f"https://papers.example/{n}"}))
    return made


def written(path: Path, results: Sequence[ScoredDocument | Failure]) -> Path:
    """A results file of each kind, as `candour score` writes it."""
    with outputs.opened(path, list(TAXONOMY.themes), list(TAXONOMY.stances)) as output:
        for result in results:
            output.write(result)
    return path


def lines(path: Path, results: Sequence[ScoredDocument | Failure]) -> Path:
    path.write_text("".join(map(outputs.line, results)), encoding="utf-8")
    return path


def gathered(*paths: Path, before: Path | None = None) -> figures.Figures:
    return figures.gather(Results(paths), TAXONOMY, Results([before]) if before else None)


def page(*paths: Path, before: Path | None = None) -> html.HtmlElement:
    made = report_page.html(gathered(*paths, before=before), TAXONOMY, [Path("results.jsonl")], MADE)
    return html.document_fromstring(made)


def mail(*paths: Path, before: Path | None = None) -> str:
    return report_page.markdown(gathered(*paths, before=before), TAXONOMY, [Path("results.jsonl")], MADE)


def table(root: html.HtmlElement, first: str) -> list[list[str]]:
    """The rows of the table whose first column is so called, without its head."""
    (found,) = [one for one in root.iter("table") if one.xpath("string(.//th[1])") == first]
    return [[cell.text_content().strip() for cell in row] for row in found.iterfind(".//tbody/tr")]


def shown(count: int, total: int) -> str:
    return f"{count} ({round(100 * count / total)}%)" if total >= 20 else str(count)


def stances(passages: Sequence[object]) -> list[str]:
    """The cells of a row: passages by primary stance."""
    counted = Counter(passage.primary_stance or "none" for passage in passages)  # type: ignore[attr-defined]
    return [shown(counted[stance], len(passages)) for stance in STANCES]


def test_the_matrix_counts_each_theme_and_each_passage_once(documents: list[ScoredDocument], tmp_path: Path) -> None:
    root = page(lines(tmp_path / "a.jsonl", documents))
    passages = [passage for document in documents for passage in document.passages]
    assert root.findtext(".//h1") == f"{len(passages)} passages of 6 documents" and len(passages) == 60
    expected = []
    for theme in THEMES:
        on = [passage for passage in passages if theme in (passage.themes or ["none"])]
        expected.append([str(len(on)), *stances(on)])
    rows = table(root, "theme")
    assert [row[1:] for row in rows[:-1]] == expected
    assert rows[-1] == ["All passages, each once", "60", *stances(passages)]
    (row,) = table(root, "model")
    assert row == [documents[0].model, "6", "60", shown(sum(passage.confident for passage in passages), 60)]


def test_councils_and_kinds_have_counts_and_shares_only_where_there_are_enough(
    documents: list[ScoredDocument], tmp_path: Path
) -> None:
    root = page(lines(tmp_path / "a.jsonl", documents))
    for what, groups in (
        ("council", [("Tarnholme", [0, 1, 2]), ("Oxmarsh", [3, 5]), ("not stated", [4])]),
        (
            "kind",
            [("council release", [1, 2]), ("local news", [3, 4]), ("inspection report", [0]), ("not stated", [5])],
        ),
    ):
        rows = table(root, what)
        assert [row[0] for row in rows] == [name for name, _ in groups]
        for row, (_, members) in zip(rows, groups, strict=True):
            passages = [passage for n in members for passage in documents[n].passages]
            assert row[1:8] == [str(len(members)), str(len(passages)), *stances(passages)]
            on = Counter(theme for passage in passages for theme in passage.themes or ["none"])
            assert row[8:] == [shown(on[theme], len(passages)) for theme in THEMES]
            assert any("%" in cell for cell in row) == (len(passages) >= 20)


def test_months_are_by_publication_and_documents_without_a_date_are_counted_apart(
    documents: list[ScoredDocument], tmp_path: Path
) -> None:
    source = lines(tmp_path / "a.jsonl", documents)
    root = page(source)
    rows = table(root, "period")
    months = {"2029-11": [0, 1], "2030-02": [2, 3], "2030-03": [5]}
    assert list(dict.fromkeys(row[0] for row in rows)) == list(months)
    for row in rows:
        passages = [passage for n in months[row[0]] for passage in documents[n].passages]
        if row[1] != "All passages":
            (theme,) = [label.name for label in TAXONOMY.labels if label.title == row[1]]
            passages = [passage for passage in passages if theme in passage.themes]
        assert row[2:] == [str(len(passages)), *stances(passages)]
    assert "1 document without a date (10 passages) is not in it" in root.text_content()
    assert list(gathered(source).periods()) == ["2029-11", "2029-12", "2030-01", "2030-02", "2030-03"]


def test_a_long_span_is_shown_by_year_and_no_year_is_left_out(documents: list[ScoredDocument], tmp_path: Path) -> None:
    early = documents[0].model_copy(update={"published": date(2027, 12, 31)})
    found = gathered(lines(tmp_path / "a.jsonl", [early, *documents[2:4]])).periods()
    assert {year: count.documents for year, count in found.items()} == {"2027-12": 1, "2030-02": 2} | {
        f"{2028 + n // 12}-{n % 12 + 1:02}": 0 for n in range(25)
    }
    earlier = documents[0].model_copy(update={"published": date(2005, 1, 1)})
    found = gathered(lines(tmp_path / "b.jsonl", [earlier, *documents[2:4]])).periods()
    assert list(found) == [str(year) for year in range(2005, 2031)]
    assert {year: count.passages for year, count in found.items() if count.passages} == {"2005": 10, "2030": 20}


def test_every_kind_of_results_file_makes_the_same_page(documents: list[ScoredDocument], tmp_path: Path) -> None:
    odd = documents[0].model_copy(update={"title": "=SUM(1); “quoted”, 'twice'\nand on", "path": "-papers/ä.txt"})
    failure = Failure(path="scan.pdf", error=Problem(type="no-text", detail="a scan"))
    results = [odd, *documents[1:], failure]
    pages = [
        report_page.html(gathered(written(tmp_path / name, results)), TAXONOMY, [Path("results")], MADE)
        for name in ("a.jsonl", "a.csv", "a.parquet")
    ]
    assert "“quoted”" in pages[0] and "scan.pdf: a scan" in pages[0]
    assert pages[1] == pages[0] and pages[2] == pages[0]


def test_a_document_that_is_there_twice_counts_once_as_the_last_one_says(
    documents: list[ScoredDocument], tmp_path: Path
) -> None:
    later = documents[0].model_copy(update={"council": "Pennick Vale"})
    first = lines(tmp_path / "a.jsonl", [*documents, documents[1]])
    second = written(tmp_path / "b.csv", [later])
    counted = gathered(first, second)
    assert (counted.total.documents, counted.total.passages) == (6, 60)
    assert counted.councils["Pennick Vale"].documents == 1 and counted.councils["Tarnholme"].documents == 2
    assert "Pennick Vale" not in gathered(second, first).councils


def test_failures_are_counted_by_type_until_the_path_is_scored(documents: list[ScoredDocument], tmp_path: Path) -> None:
    def failure(path: str | None, kind: str) -> Failure:
        return Failure(path=path, error=Problem(type=kind, detail=f"{kind} it is"))

    first = written(
        tmp_path / "a.csv",
        [documents[0], failure("x.pdf", "no-text"), failure("y.pdf", "no-text"), failure("z.pdf", "too-large")],
    )
    second = lines(
        tmp_path / "b.jsonl", [failure("papers/1.txt", "unreadable"), documents[1], failure("z.pdf", "no-text")]
    )
    root = page(first, second, outputs.errors_of(first))
    types = [one.text_content() for one in root.xpath("//h2[@id='failures']/following-sibling::details/summary")]
    assert types == ["no-text: 3 files"]
    assert "Could not be read, no-text: 3." in mail(first, second)


def test_the_sharpest_are_the_sharpest_of_each_document_and_lead_to_their_place(
    documents: list[ScoredDocument], tmp_path: Path
) -> None:
    source = lines(tmp_path / "a.jsonl", documents)
    quotes = page(source).findall(".//blockquote")
    candidates = [document.passages[n] for document in documents for n in document.summary.sharpest]
    strongest = {
        passage.text: max(passage.scores.stances[name] for name in ("critical", "defensive", "apologetic"))
        + 0.1 * max(passage.scores.themes.values())
        for passage in candidates
    }
    texts = [quote.text.strip() for quote in quotes]
    assert len(texts) == 12 and set(texts) <= strongest.keys()
    assert [strongest[text] for text in texts] == sorted(strongest.values(), reverse=True)[:12]
    for quote in quotes:
        title, place = quote.findall("a")
        (document,) = [one for one in documents if one.title == title.text]
        assert title.get("href") == document.url
        assert place.get("href", "").startswith(f"{document.url}#:~:text=")
        assert quote.text.strip() in [passage.text for passage in document.passages]


def test_words_that_many_documents_print_are_shown_once(documents: list[ScoredDocument], tmp_path: Path) -> None:
    copies = [documents[0].model_copy(update={"sha256": f"{n:064}"}) for n in range(9)]
    root = page(lines(tmp_path / "a.jsonl", copies))
    assert root.findtext(".//h1") == "90 passages of 9 documents"
    texts = [quote.text for quote in root.findall(".//blockquote")]
    assert len(texts) == len(set(texts)) == 3


@pytest.mark.parametrize(
    ("url", "page_number", "expected"),
    [
        ("https://a.example/r.pdf", 4, "https://a.example/r.pdf#page=4"),
        ("https://a.example/r.pdf#page=1", 4, "https://a.example/r.pdf#page=4"),
        ("https://a.example/r?b=1&c=2", None, "https://a.example/r?b=1&c=2#:~:text=First%20words%2C%20and%20a%20well%2Dknown%20middle%2C,of%20a%20passage%20that%20is%20long."),
        ("https://a.example/r#part", None, "https://a.example/r#part:~:text=First%20words%2C%20and%20a%20well%2Dknown%20middle%2C,of%20a%20passage%20that%20is%20long."),
        ("http://a.example/<b>\n\"x' y", 1, "http://a.example/%3Cb%3E%22x'%20y#page=1"),
        ("javascript:alert(1)", 1, None),
        ("java\nscript:alert(1)", 1, None),
        ("data:text/html,x", 1, None),
        ("//a.example/r.pdf", 1, None),
        ("file:///etc/passwd", 1, None),
        ("http://[", 1, None),
        ("https:", 1, None),
        (None, 1, None),
    ],
)  # fmt: skip
def test_only_addresses_of_the_web_are_links(
    documents: list[ScoredDocument], url: str | None, page_number: int | None, expected: str | None
) -> None:
    text = "First words, and a well-known middle, which nobody needs, and then the end of a passage that is long."
    passage = documents[0].passages[0].model_copy(update={"text": text, "page": page_number})
    head = Head(sha256="0", path=None, model="m", segmentation="1", url=url)
    assert report_page.place(head, passage) == expected


EVIL = "<script>alert(1)</script>[x](javascript:alert(2)) <img src=x onerror=alert(3)> | `*a*` &lt;b&gt;"


def evil(document: ScoredDocument) -> ScoredDocument:
    sharp = Scores(themes={"thresholds": 1.0}, stances={"critical": 1.0})
    labels = {"stances": ["critical"], "primary_stance": "critical", "scores": sharp}
    passages = [
        passage.model_copy(update=labels | {"text": f"{n} {EVIL}"}) for n, passage in enumerate(document.passages)
    ]
    return document.model_copy(
        update={"title": EVIL, "council": f"# {EVIL}", "path": EVIL, "url": "javascript:alert(4)", "passages": passages}
    )


def test_the_page_fetches_nothing_and_runs_nothing(documents: list[ScoredDocument], tmp_path: Path) -> None:
    failure = Failure(path=EVIL, error=Problem(type="no-text", detail=EVIL))
    root = page(lines(tmp_path / "a.jsonl", [evil(documents[0]), *documents[1:], failure]))
    assert not root.xpath("//script | //img | //link | //iframe | //object | //embed | //image | //use | //base")
    assert not [
        name for element in root.iter(etree.Element) for name in element.attrib if name.lower().startswith("on")
    ]
    addresses = root.xpath(
        "//@href | //@src | //@*[local-name()='href'] | //@xlink:href", namespaces={"xlink": "xlink"}
    )
    assert all(address.startswith("#") or address.startswith("https://papers.example/") for address in addresses)
    assert "url(" not in root.findtext(".//style") and "@import" not in root.findtext(".//style")
    (policy,) = root.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'")
    assert f"0 {EVIL}" in [quote.text.strip() for quote in root.findall(".//blockquote")]
    assert f"# {EVIL}" in [row[0] for row in table(root, "council")]


def test_every_chart_says_what_it_is_and_has_its_numbers_beside_it(
    documents: list[ScoredDocument], tmp_path: Path
) -> None:
    root = page(lines(tmp_path / "a.jsonl", documents))
    charts = root.findall(".//svg")
    assert len(charts) == 4
    identifiers = root.xpath("//@id")
    assert len(identifiers) == len(set(identifiers))
    for chart in charts:
        assert chart.get("role") == "img"
        said = [root.get_element_by_id(part) for part in chart.get("aria-labelledby").split()]
        assert [one.tag for one in said] == ["title", "desc"] and all(one.text for one in said)
        (details,) = chart.getparent().xpath("following-sibling::*[1][self::details]")
        assert details.find("summary") is not None and details.find("table") is not None
    drawn = charts[0].xpath(".//*[local-name()='text']/text()")
    cells = [cell.split()[0] for row in table(root, "theme")[:-1] for cell in row[2:]]
    assert sorted(text for text in drawn if text.isdigit()) == sorted(cells)


def test_the_mail_means_what_the_page_means_and_is_as_harmless(documents: list[ScoredDocument], tmp_path: Path) -> None:
    text = mail(lines(tmp_path / "a.jsonl", [evil(documents[0]), *documents[1:]]))
    root = html.document_fromstring(MarkdownIt("commonmark").enable("table").render(text))
    assert not root.xpath("//script | //img")
    assert all(address.startswith("https://papers.example/") for address in root.xpath("//@href"))
    assert root.findtext(".//h1") == "60 passages of 6 documents" and len(root.findall(".//h1")) == 1
    assert f"0 {EVIL}" in [quote.text_content().strip() for quote in root.findall(".//blockquote")]
    rows = {row[0]: row for row in table(root, "council")}
    assert set(rows) == {f"# {EVIL}", "Tarnholme", "Oxmarsh", "not stated"}
    assert rows["Tarnholme"][1:3] == ["2", "20"]
    passages = [passage for document in documents for passage in document.passages]
    on = [passage for passage in passages if "leadership" in passage.themes]
    assert ["Leadership and governance", str(len(on)), *stances(on)] in table(root, "theme")


def test_what_changed_is_told_in_counts(documents: list[ScoredDocument], tmp_path: Path) -> None:
    model = "20010101-00000000"
    older = documents[1].model_copy(
        update={
            "model": model,
            "passages": [p.model_copy(update={"stances": ["critical"], "model": model}) for p in documents[1].passages],
        }
    )
    before = lines(tmp_path / "before.jsonl", [documents[0], older, documents[2]])
    now = lines(tmp_path / "now.jsonl", documents[1:])
    root = page(now, before=before)
    said = " ".join(root.text_content().split())
    assert "Before: 30 passages of 3 documents. 3 documents new, 1 gone, 1 rescored" in said
    assert f"The models are not the same (before: {model}, {documents[0].model})" in said
    new, gone = [
        [item.findtext("a") for item in root.xpath(f"//h3[.='{heading}']/following-sibling::ul[1]/li")]
        for heading in ("New", "Gone")
    ]
    assert (new, gone) == (["Paper 3", "Paper 4", "Paper 5"], ["Paper 0"])

    def critical(*of: ScoredDocument) -> int:
        return sum("critical" in passage.stances for document in of for passage in document.passages)

    was, became = critical(documents[0], older, documents[2]), critical(*documents[1:])
    (row,) = [row for row in table(root, "label") if row[0] == "Critical"]
    assert row[1:] == [
        shown(was, 30), shown(became, 50), f"{100 * became / 50 - 100 * was / 30:+.1f}",
        "10", str(critical(documents[1])),
    ]  # fmt: skip
    marked = {quote.findtext("a") for quote in root.findall(".//blockquote") if "new ·" in quote.text_content()}
    assert marked <= {"Paper 3", "Paper 4", "Paper 5"} and marked
    assert f"| Critical | {row[1]} | {row[2]} | {row[3]} |" in mail(now, before=before)


def test_shares_of_few_passages_are_not_said_to_move(documents: list[ScoredDocument], tmp_path: Path) -> None:
    before, now = lines(tmp_path / "before.jsonl", documents[:1]), lines(tmp_path / "now.jsonl", documents)
    assert {row[3] for row in table(page(now, before=before), "label")} == {"–"}


def test_what_it_must_not_be_used_for_is_what_the_readme_says(documents: list[ScoredDocument], tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.split("## What it must not be used for\n")[1].split("\n## ")[0]
    uses = [item.replace("*", "") for item in re.findall(r"^- (.*(?:\n  .*)*)", section, re.M)]
    source = lines(tmp_path / "a.jsonl", documents)
    (warning,) = page(source).find_class("warning")
    assert [item.text for item in warning.iter("li")] == uses
    assert all(f"- {use}\n" in mail(source) for use in uses)
    assert documents[0].model in warning.text_content()


def test_passages_are_not_held_while_they_are_counted(documents: list[ScoredDocument], tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", [documents[0].model_copy(update={"sha256": f"{n:064}"}) for n in range(600)])
    gathered(source)
    tracemalloc.start()
    counted = gathered(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counted.total.passages == 6000
    assert peak < source.stat().st_size / 3


def test_a_run_that_was_cut_off_counts_as_far_as_it_got(documents: list[ScoredDocument], tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv"):
        source = written(tmp_path / name, documents)
        source.write_bytes(source.read_bytes()[:-900])
        assert gathered(source).total.documents == 5


def test_a_file_that_holds_no_results_is_refused_by_its_place(documents: list[ScoredDocument], tmp_path: Path) -> None:
    bad = lines(tmp_path / "a.jsonl", documents[:1])
    with bad.open("a") as file:
        file.write(json.dumps({"id": 1, "themes": []}) + "\n")
    with pytest.raises(InvalidInput, match="line 2 is no result"):
        Results([bad])
    (tmp_path / "b.csv").write_text("id,text\n1,Plans drift.\n")
    with pytest.raises(InvalidInput, match="it has no column confident, "):
        Results([tmp_path / "b.csv"])
    (tmp_path / "c.parquet").write_bytes(b"no table")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Results([tmp_path / "c.parquet"])


def invoke(*arguments: object) -> tuple[int, str, str]:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(report)
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_command_writes_a_page_or_prints_a_mail(documents: list[ScoredDocument], tmp_path: Path) -> None:
    source, out = lines(tmp_path / "a.jsonl", documents), tmp_path / "report.html"
    assert invoke(source, "-o", out) == (0, "", "")
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    status, printed, _ = invoke(source)
    assert status == 0 and printed.startswith("# 60 passages of 6 documents\n")
    assert invoke(source, "-o", tmp_path / "report.md")[0] == 0
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# 60 passages of 6 documents\n")
    assert invoke(source, "--format", "html")[1].startswith("<!doctype html>")
    status, printed, _ = invoke(source, "--before", source)
    assert status == 0 and "0 documents new, 0 gone, 0 rescored" in printed


def test_the_command_refuses_what_it_cannot_do(documents: list[ScoredDocument], tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", documents)
    for arguments, said in (
        ([source, "-o", tmp_path / "report.pdf"], "must be .html or .md"),
        ([source, "-o", tmp_path / "report.html", "--format", "md"], "is not md"),
        ([tmp_path / "papers.pdf"], "the ending must be one of .jsonl"),
        ([source, "--before", tmp_path / "papers.pdf"], "the ending must be one of .jsonl"),
    ):
        status, _, error = invoke(*arguments)
        assert status == 2 and said in " ".join(error.replace("│", " ").split())
    failed = lines(tmp_path / "b.jsonl", [Failure(path="x", error=Problem(type="no-text", detail="a scan"))])
    with pytest.raises(InvalidInput, match="no scored document in"):
        invoke(failed)
    with pytest.raises(FileNotFoundError):
        invoke(tmp_path / "nowhere.jsonl")


def test_the_page_needs_the_extra_and_the_mail_does_not(
    documents: list[ScoredDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = lines(tmp_path / "a.jsonl", documents)
    monkeypatch.delitem(sys.modules, "service.charts", raising=False)
    monkeypatch.delattr("service.charts", raising=False)
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ModuleNotFoundError) as refused:
        invoke(source, "-o", tmp_path / "report.html")
    assert refused.value.name == "altair" and not (tmp_path / "report.html").exists()
    assert invoke(source)[0] == 0

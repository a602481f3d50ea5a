"""The command itself, as a shell runs it."""

import csv
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

COMMAND = Path(sys.executable).with_name("candour")
SAMPLES = Path(__file__).parents[2] / "samples"


def candour(*arguments: str | Path, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], input=stdin, capture_output=True, text=True, cwd=cwd, timeout=250, check=False
    )


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def jsonl(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_score_prints_counts_and_the_sharpest_passages(folder: Path) -> None:
    done = candour("score", folder / "release.txt")
    assert done.returncode == 0
    assert "5 passages" in done.stdout and "care_planning" in done.stdout and "We are sorry" in done.stdout
    assert "documents 1, passages 5, failed 0, known 0, seconds " in done.stderr
    assert "%" not in done.stderr  # no progress bar in a pipe


def test_score_goes_on_past_what_it_cannot_read(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = candour("score", folder, folder / "nowhere.pdf", "-o", out)
    assert done.returncode == 3
    found = {Path(str(row["path"])).name: row for row in lines(out.read_text())}
    assert set(found) == {"release.txt", "page.pdf", "empty.txt", "noise.pdf", "nowhere.pdf"}
    types = {name: row["error"]["type"] for name, row in found.items() if "error" in row}  # type: ignore[index]
    assert types == {
        "empty.txt": "empty-document",
        "noise.pdf": "unsupported-document",
        "nowhere.pdf": "unreadable",
    }
    page = found["page.pdf"]
    assert page["media_type"] == "text/html" and page["title"] == "Praise for the missing children team"
    release = found["release.txt"]
    assert {"id", "path", "title", "sha256", "passages", "summary"} <= release.keys()
    passage = release["passages"][1]  # type: ignore[index]
    assert passage["text"].startswith('"We are sorry') and "apologetic" in passage["stances"]
    assert {"text", "start", "end", "page", "themes", "stances", "primary_stance"} <= passage.keys()
    assert {"scores", "confident", "model"} <= passage.keys()
    assert "documents 2, passages 7, failed 3, known 0, seconds" in done.stderr
    assert "failed, unreadable: 1" in done.stderr


def test_tables_have_a_row_a_passage_and_failures_beside_them(folder: Path, tmp_path: Path) -> None:
    for name in ("out.csv", "out.parquet"):
        assert candour("score", folder, "-o", tmp_path / name).returncode == 3
        errors = lines((tmp_path / f"{name}.errors.jsonl").read_text())
        assert {Path(str(row["path"])).name for row in errors} == {"empty.txt", "noise.pdf"}
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["text"] for row in rows] == [row["text"] for row in table] and len(rows) == 7
    assert [row["stances"] for row in rows] == [";".join(row["stances"]) for row in table]
    assert 0 <= table[0]["p_critical"] <= 1


def test_a_table_has_no_cell_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    text = '=HYPERLINK("http://example.invalid") is what the council put into the first cell of its plan for children.'
    (tmp_path / "a.txt").write_text(text)
    assert candour("score", tmp_path / "a.txt", "-o", tmp_path / "out.csv").returncode == 0
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["text"] == "'" + text


def test_an_unknown_ending_stops_before_anything_is_read(folder: Path, tmp_path: Path) -> None:
    done = candour("score", folder, "-o", tmp_path / "out.xlsx")
    assert done.returncode == 2 and "Invalid value" in done.stderr
    assert not (tmp_path / "out.xlsx").exists()


def test_classify_answers_each_line_in_order(tmp_path: Path) -> None:
    source = jsonl(
        [
            {"id": n, "text": f"Inspectors found {n + 2} serious failings: children do not always receive help."}
            for n in range(3)
        ]
        + [{"id": "no text"}, ["not an object"], {"text": "no id"}, {"id": "blank", "text": " \n"}]
    )
    source += "{broken\n\n" + jsonl([{"id": "last", "text": "The café opens at nine."}])
    (tmp_path / "in.jsonl").write_text(source, encoding="utf-8")
    done = candour("classify", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert done.returncode == 3 and done.stdout == ""
    rows = lines((tmp_path / "out.jsonl").read_text())
    assert [row["id"] for row in rows] == [0, 1, 2, "no text", None, None, "blank", None, "last"]
    assert [row.get("line") for row in rows] == [None] * 3 + [4, 5, 6, 7, 8] + [None]
    assert list(rows[0]) == ["id", "themes", "stances", "primary_stance", "scores", "confident", "model"]
    assert rows[0]["stances"] == ["critical"] and rows[8]["stances"] == []
    assert candour("classify", "-", stdin=source).stdout == (tmp_path / "out.jsonl").read_text()


def test_explain_says_what_carries_each_label_and_passes_over_what_is_too_long() -> None:
    text = "The library is closed. We are sorry that we let children down."
    source = jsonl(
        [{"id": "a", "text": text}, {"id": "long", "text": "late " * 501}, {"id": "none", "text": "Open at nine."}]
    )
    done = candour("classify", "--explain", stdin=source)
    assert done.returncode == 0
    first, long, last = lines(done.stdout)
    plain, *_ = lines(candour("classify", stdin=source).stdout)
    assert {key: value for key, value in first.items() if key != "explanations"} == plain
    labels = {f"theme/{name}" for name in first["themes"]} | {f"stance/{name}" for name in first["stances"]}  # type: ignore[attr-defined]
    assert {item["label"] for item in first["explanations"]} == labels  # type: ignore[attr-defined]
    (apology,) = [item for item in first["explanations"] if item["label"] == "stance/apologetic"]  # type: ignore[attr-defined]
    assert (
        apology["sentence"]["text"] == "We are sorry that we let children down." and apology["sentence"]["effect"] > 0
    )
    for span in (apology["sentence"], *apology["words"]):
        assert text[span["start"] : span["end"]] == span["text"]
    assert long["explanations"] is None and "critical" in long["scores"]["stances"]  # type: ignore[index]
    assert last["explanations"] == []


def test_classify_of_good_lines_exits_0_and_of_none_prints_nothing() -> None:
    assert candour("classify", stdin=jsonl([{"id": "a", "text": "Good plans."}])).returncode == 0
    nothing = candour("classify", stdin="")
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_a_lone_surrogate_is_an_error_line_and_not_a_crash() -> None:
    done = candour("classify", stdin='{"id": 1, "text": "half \\ud83d of a sign"}\n')
    assert done.returncode == 3 and "surrogate" in lines(done.stdout)[0]["error"]["detail"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["score"], 2, "Missing argument"),
        (["classify", "no-such-file.jsonl"], 1, "No such file"),
        (["classify", "--model", "none"], 1, "no model 'none'"),
        (["classify", "-o", "no/such/folder/out.jsonl"], 1, "does not exist"),
        (["nonsense"], 2, "No such command"),
        (["serve", "--port", "99999"], 2, "65535"),
        (["train", "--base", "no/such/folder/at/all"], 1, "candour: "),
        (["train", "--version", "../elsewhere"], 1, "no name for a version"),
    ],
)
def test_usage(arguments: list[str], status: int, said: str) -> None:
    done = candour(*arguments)
    assert done.returncode == status and said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["score", "classify", "serve", "train"])
def test_help_has_an_example(command: str) -> None:
    done = candour(command, "--help")
    assert done.returncode == 0 and f"candour {command}" in done.stdout.split("Usage:")[1].partition("\n")[2]


def test_a_setting_that_is_none_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOUR_THREADS", "many")
    done = candour("classify", stdin="")
    assert done.returncode == 1 and "CANDOUR_THREADS: " in done.stderr and "Traceback" not in done.stderr
    monkeypatch.setenv("CANDOUR_RETRAIN_DATA", "labels.jsonl")
    done = candour("classify", stdin="")
    assert done.returncode == 1 and "retrain_data" in done.stderr and "Traceback" not in done.stderr


def test_a_key_of_nobody_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CANDOUR_DATABASE", f"sqlite:///{tmp_path / 'keys.db'}")
    assert candour("keys", "create", " ", "--scope", "read").returncode == 2
    assert candour("keys", "create", "newsroom", "--scope", "read").returncode == 0
    assert candour("keys", "list").stdout.count("newsroom") == 1


def test_odd_paths_are_error_lines_and_cost_nothing_else(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    (folder / "dangling.txt").symlink_to("nowhere")
    shutil.copy(folder / "release.txt", os.fsencode(folder / "b") + b"\xe9d.txt")
    done = candour("score", folder, tmp_path / ("n" * 300), "-o", tmp_path / "out.jsonl")
    assert done.returncode == 3
    found = {Path(str(row["path"])).name: row for row in lines((tmp_path / "out.jsonl").read_text(encoding="utf-8"))}
    for name in ("pipe.txt", "dangling.txt", "n" * 300):
        assert found[name]["error"]["type"] == "unreadable"  # type: ignore[index]
    assert len(found["b\ufffdd.txt"]["passages"]) == 5  # type: ignore[arg-type]


def test_each_file_is_scored_once_and_the_output_is_no_input(folder: Path) -> None:
    for said in ("documents 2, passages 7, failed 0, known 0", "documents 0, passages 0, failed 0, known 2"):
        done = candour("score", folder / "release.txt", folder / "2024" / ".." / "release.txt", folder / "2024", "-o",
                       folder / "2024" / "out.csv")  # fmt: skip
        assert done.returncode == 0 and said in done.stderr


def test_the_same_content_is_one_document_and_every_bad_file_is_named(folder: Path, tmp_path: Path) -> None:
    for name in ("release.txt", "noise.pdf"):
        (folder / f"again-{name}").write_bytes((folder / name).read_bytes())
    done = candour("score", folder, "-o", tmp_path / "out.jsonl")
    assert "documents 2, passages 7, failed 3, known 1" in done.stderr
    found = lines((tmp_path / "out.jsonl").read_text())
    assert sorted(Path(str(row["path"])).name for row in found if "error" in row) == [
        "again-noise.pdf", "empty.txt", "noise.pdf",
    ]  # fmt: skip


def test_half_a_surrogate_pair_in_an_id_goes_back_as_it_came() -> None:
    done = candour("classify", stdin='{"id": "\\ud800", "text": "Plans drift."}\n')
    assert done.returncode == 0 and done.stdout.startswith('{"id": "\\ud800", ')


def test_deep_json_is_an_error_line() -> None:
    done = candour("classify", stdin="[" * 200_000 + "\n" + jsonl([{"id": 1, "text": "Fine."}]))
    assert done.returncode == 3 and [row["id"] for row in lines(done.stdout)] == [None, 1]


def test_output_goes_through_a_link_and_into_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    row = jsonl([{"id": "é", "text": "Fine."}])
    assert candour("classify", "-o", tmp_path / "link.jsonl", stdin=row).returncode == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    piped = candour("classify", "-o", "/dev/stdout", stdin=row).stdout
    assert piped == (tmp_path / "real.jsonl").read_text(encoding="utf-8") and Path("/dev/stdout").is_symlink()


def test_output_is_utf8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    row = '{"id": "caf\u00e9 \u2603", "text": "Visits were late."}\n'
    done = subprocess.run([COMMAND, "classify"], input=row.encode(), capture_output=True, check=True)
    assert json.loads(done.stdout.decode("utf-8"))["id"] == "caf\u00e9 \u2603"


def test_a_progress_bar_on_a_terminal_alone(folder: Path, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    out = tmp_path / "out.jsonl"
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([COMMAND, "score", folder, "-o", out], stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                read = os.read(parent, 4096)
            except OSError:  # Linux says so that the other side has closed
                break
            shown += read
            if not read:
                break
    os.close(parent)
    assert process.returncode == 3 and b"scoring" in shown and b"\x1b[" in shown
    assert "scoring" not in candour("score", folder, "-o", out).stderr


def test_compare_on_the_sample_pair(tmp_path: Path) -> None:
    pair = (SAMPLES / "tarnholme-inspection-report.pdf", SAMPLES / "tarnholme-council-response.html")
    assert candour("compare", *pair, "-o", tmp_path / "found.json").returncode == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {"sentence", "themes", "model"} and len(found["themes"]) == 4
    assert any(theme["verdict"] != "not_criticised" for theme in found["themes"])
    assert candour("compare", *pair, "-o", tmp_path / "found.html").returncode == 0
    page = (tmp_path / "found.html").read_text()
    assert found["sentence"] in page and "<script" not in page
    assert candour("compare", *pair).stdout.startswith(found["sentence"][:40])


def test_compare_says_which_document_cannot_be_read_and_refuses_a_wrong_ending(tmp_path: Path) -> None:
    failed = candour("compare", tmp_path / "none.pdf", SAMPLES / "tarnholme-council-response.html")
    assert failed.returncode == 1 and "none.pdf" in failed.stderr
    assert candour("compare", "a", "b", "-o", "found.txt").returncode == 2


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    passages, page = tmp_path / "in.jsonl", tmp_path / "response.html"
    passages.write_text(jsonl([{"id": 1, "text": "Visits were late."}]))
    page.write_text("<p>We are sorry.</p>")
    before = passages.read_text(), page.read_text()
    assert candour("classify", passages, "-o", passages).returncode == 2
    assert candour("compare", page, page, "-o", tmp_path / "." / "response.html").returncode == 2
    assert (passages.read_text(), page.read_text()) == before

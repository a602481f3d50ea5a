"""What was collected: the documents in a folder, and beside them a database of what is known of every page.

A run that is killed loses nothing and keeps nothing twice: what a feed lists is written down as due together with the
feed's validators, and a document's files get their names once the database knows of them.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from labels.files import replacing
from service.collecting.fetching import Fetched, Robots, Validators
from service.collecting.reading import Entry, Page
from service.collecting.sources import Source, slug
from service.errors import CollectError
from service.report import METADATA, Metadata

DATABASE = ".collect.db"
# Bits of 64 in which the simhashes of near-duplicates may differ. Among 400,000 pairs of different documents the
# nearest were 11 apart; a text with a word mended is 5 or less from what it was in 99 of 100.
NEAR = 6
# A page that so many runs could not fetch is not tried again, until its feed says that it changed.
MOST_ATTEMPTS = 5
ENDINGS = {
    "text/html": "html",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "message/rfc822": "eml",
    "text/markdown": "md",
    "text/plain": "txt",
}
_SCHEMA = 1
_TABLES = """
CREATE TABLE feeds (
    source TEXT, url TEXT, etag TEXT, modified TEXT, items INTEGER NOT NULL, PRIMARY KEY (source, url)
);
CREATE TABLE robots (url TEXT PRIMARY KEY, etag TEXT, modified TEXT, body BLOB NOT NULL);
CREATE TABLE pages (
    url TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    title TEXT,
    published TEXT,
    changed TEXT,              -- what its feeds say, ISO 8601 in UTC
    due INTEGER NOT NULL,      -- to be fetched
    attempts INTEGER NOT NULL, -- runs that could not fetch it
    etag TEXT,
    modified TEXT,
    outcome TEXT,              -- of the last fetch
    fetched TEXT,
    document TEXT              -- the URL that its text is kept under
);
CREATE INDEX pages_due ON pages (source) WHERE due;
CREATE TABLE documents (
    sha256 TEXT PRIMARY KEY, -- of the bytes
    url TEXT NOT NULL,
    path TEXT NOT NULL,
    text TEXT NOT NULL,      -- sha256 of the words
    simhash TEXT NOT NULL,
    figures TEXT NOT NULL,
    fetched TEXT NOT NULL
);
CREATE INDEX documents_text ON documents (text);
CREATE INDEX documents_url ON documents (url);
"""
_LISTED = """
INSERT INTO pages (url, source, title, published, changed, due, attempts)
VALUES (:url, :source, :title, :published, :changed, 1, 0)
ON CONFLICT (url) DO UPDATE SET
    title = coalesce(excluded.title, title),
    published = coalesce(excluded.published, published),
    source = CASE WHEN due THEN excluded.source ELSE source END,
    attempts = CASE WHEN excluded.changed > coalesce(changed, fetched) THEN 0 ELSE attempts END,
    due = due OR coalesce(excluded.changed > coalesce(changed, fetched), 0),
    changed = CASE WHEN changed IS NULL OR excluded.changed > changed THEN excluded.changed ELSE changed END
"""


class Outcome(StrEnum):
    """What became of a page that was fetched and read."""

    NEW = "new"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"


class Due(NamedTuple):
    """A page to fetch, and what its feed says of it."""

    url: str
    title: str | None
    published: date | None
    known: Validators


@dataclass(frozen=True)
class _Kept:
    url: str
    simhash: int
    figures: str


class Archive:
    """A folder of documents and its database. A context manager; one run at a time.

    Raises CollectError where another run is at work in the folder, or its database is none of this candour.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / DATABASE, timeout=0)
        try:
            self._open()
        except sqlite3.Error as error:
            self._database.close()
            if "locked" in str(error):
                raise CollectError(f"{folder}: another candour collect is at work in it") from error
            raise CollectError(f"{folder / DATABASE}: {error}") from error
        except BaseException:
            self._database.close()
            raise
        self._documents = [
            _Kept(url, int(simhash, 16), figures)
            for url, simhash, figures in self._database.execute("SELECT url, simhash, figures FROM documents")
        ]

    def _open(self) -> None:
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("BEGIN EXCLUSIVE")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            # Not executescript, which would commit what it finds begun.
            for statement in _TABLES.split(";\n"):
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {_SCHEMA}")
        elif version != _SCHEMA:
            raise CollectError(f"{self._folder / DATABASE}: made by another version of candour ({version})")
        self._database.commit()
        self._mend()

    def _mend(self) -> None:
        """Finish what a run that was killed had begun: files that the database knows get their names."""
        for partial in self._folder.glob("*/*.partial"):
            file = partial.with_suffix("")
            document = file.name.removesuffix(METADATA)
            if re.fullmatch(r"[0-9a-f]{16}\.[a-z]+", document):
                path = file.with_name(document).relative_to(self._folder).as_posix()
                if self._database.execute("SELECT 1 FROM documents WHERE path = ?", (path,)).fetchone():
                    partial.replace(file)
                else:
                    partial.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def robots(self, url: str) -> Robots | None:
        row = self._database.execute("SELECT body, etag, modified FROM robots WHERE url = ?", (url,)).fetchone()
        return Robots(row[0], Validators(*row[1:])) if row else None

    def keep_robots(self, url: str, robots: Robots) -> None:
        known = robots.validators
        with self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO robots VALUES (?, ?, ?, ?)", (url, known.etag, known.modified, robots.body)
            )

    def feed(self, source: Source, url: str) -> tuple[Validators, int] | None:
        """A feed's version and number of items as they were last read, with the source as it is now."""
        row = self._database.execute(
            "SELECT etag, modified, items FROM feeds WHERE source = ? AND url = ?", (source.model_dump_json(), url)
        ).fetchone()
        return (Validators(*row[:2]), row[2]) if row else None

    def listed(self, source: Source, url: str, known: Validators, entries: Iterable[Entry]) -> None:
        """Write down what a feed lists: what is new or has changed since is due."""
        rows = [
            {"url": e.url, "source": source.name, "title": e.title, "changed": e.changed,
             "published": e.published.isoformat() if e.published else None}
            for e in entries
        ]  # fmt: skip
        with self._database:
            self._database.executemany(_LISTED, rows)
            # Under the whole source: where its include or since is another, the feed is to be read again.
            self._database.execute(
                "INSERT OR REPLACE INTO feeds VALUES (?, ?, ?, ?, ?)",
                (source.model_dump_json(), url, known.etag, known.modified, len(rows)),
            )

    def due(self, source: Source) -> list[Due]:
        """The pages of a source to fetch: those that failed before come last, and among equals the latest first."""
        rows = self._database.execute(
            "SELECT url, title, published, etag, modified FROM pages WHERE source = ? AND due"
            " ORDER BY attempts, coalesce(changed, published) DESC, rowid",
            (source.name,),
        )
        return [
            Due(url, title, date.fromisoformat(published) if published else None, Validators(etag, modified))
            for url, title, published, etag, modified in rows
        ]

    def failed(self, url: str, reason: str, again: bool) -> None:
        """Write down that a page could not be had. again: a later run shall try."""
        with self._database:
            self._database.execute(
                "UPDATE pages SET outcome = ?, fetched = ?, attempts = attempts + 1, due = ? AND attempts + 1 < ?"
                " WHERE url = ?",
                (reason, _now(), again, MOST_ATTEMPTS, url),
            )

    def settle(self, url: str, outcome: str) -> None:
        """Write down that nothing is to be kept of a page, as it is now."""
        with self._database:
            self._settle(url, outcome, None, None)

    def _settle(self, url: str, outcome: str, known: Validators | None, document: str | None) -> None:
        self._database.execute(
            "UPDATE pages SET due = 0, attempts = 0, outcome = ?, fetched = ?, etag = coalesce(?, etag),"
            " modified = coalesce(?, modified), document = coalesce(?, document) WHERE url = ?",
            (outcome, _now(), known and known.etag, known and known.modified, document, url),
        )

    def keep(self, due: Due, own: str, page: Page, fetched: Fetched, source: Source) -> Outcome:
        """Keep a page that was fetched, unless its text is kept already.

        own: the URL that the page says is its own.
        """
        url = self._known_as(due.url, own)
        outcome, document = Outcome.NEW, url
        if same := self._database.execute(
            "SELECT url FROM documents WHERE text = ? OR sha256 = ? ORDER BY url = ? DESC",
            (page.text, page.sha256, url),
        ).fetchone():
            document = same[0]
            outcome = Outcome.UNCHANGED if document == url else Outcome.DUPLICATE
        elif near := self._near(page, url):
            outcome, document = Outcome.DUPLICATE, near
        if outcome is not Outcome.NEW:
            with self._database:
                self._settle(due.url, outcome, fetched.validators, document)
            return outcome
        folder = self._folder / slug(source.council)
        folder.mkdir(exist_ok=True)
        file = folder / f"{page.sha256[:16]}.{ENDINGS[page.document.media_type]}"
        metadata = Metadata(
            title=due.title or page.document.title,
            council=source.council,
            published=due.published or page.document.published,
            kind=source.kind,
            url=url,
        )
        beside = file.with_name(file.name + METADATA)
        path = file.relative_to(self._folder).as_posix()
        # The files get their names at the end of the block, the metadata first; _mend does it after a kill.
        with replacing(file) as partial, replacing(beside) as metadata_partial:
            partial.write_bytes(fetched.body)
            lines = json.dumps(metadata.model_dump(mode="json") | {"fetched": _now()}, ensure_ascii=False, indent=2)
            metadata_partial.write_text(lines + "\n", encoding="utf-8")
            for written in (partial, metadata_partial):  # a disk that is full says so here, before the page is settled
                with written.open("rb") as file_:
                    os.fsync(file_.fileno())
            with self._database:
                self._database.execute(
                    "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (page.sha256, url, path, page.text, f"{page.simhash:x}", page.figures, _now()),
                )
                self._settle(due.url, outcome, fetched.validators, url)
        self._documents.append(_Kept(url, page.simhash, page.figures))
        return outcome

    def _known_as(self, url: str, own: str) -> str:
        """The URL to keep a page under: its own, unless another page was kept under that.

        Some sites give every page the same address as its own.
        """
        (before,) = self._database.execute("SELECT document FROM pages WHERE url = ?", (url,)).fetchone()
        if before == own or not self._database.execute("SELECT 1 FROM documents WHERE url = ?", (own,)).fetchone():
            return own
        return url

    def _near(self, page: Page, url: str) -> str | None:
        """The URL of another document with nearly the same words, and the same numbers."""
        for kept in self._documents:
            if (kept.simhash ^ page.simhash).bit_count() <= NEAR and kept.figures == page.figures and kept.url != url:
                return kept.url
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

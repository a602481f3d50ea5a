"""Where scored documents, batches and API keys are kept: SQLite beside the service, or PostgreSQL by URL."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Row,
    Select,
    String,
    TypeDecorator,
    and_,
    create_engine,
    delete,
    event,
    func,
    insert,
    make_url,
    or_,
    select,
    tuple_,
    update,
)  # fmt: skip
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import (
    DeclarativeBase,
    InstrumentedAttribute,
    Mapped,
    Session,
    aliased,
    mapped_column,
    relationship,
    selectinload,
)  # fmt: skip
from sqlalchemy.pool import ConnectionPoolEntry

from labels.dataset import Kind
from labels.passages import fingerprint, normalise
from service import keys
from service.batches import Batch, Item, State
from service.corrections import (
    Candidate,
    Corrected,
    Correction,
    Labelled,
    Said,
    disagree,
    doubt,
    person,
    present,
    verdict,
)  # fmt: skip
from service.errors import Conflict, InvalidInput, KeyReused, NotFound, StoreError, TimedOut
from service.keys import Key, Scope
from service.report import (
    DocumentSummary,
    Failure,
    FoundPassage,
    Metadata,
    Page,
    Problem,
    ScoredDocument,
    ScoredPassage,
)  # fmt: skip

# How long an Idempotency-Key is remembered.
REMEMBERED = timedelta(hours=24)
# Seconds: SQLite waits for its lock, PostgreSQL for a connection. A URL may say otherwise.
_WAITS = {"sqlite": {"timeout": "30"}, "postgresql": {"connect_timeout": "10"}}
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
# Of SQLite's virtual machine, between two looks at the clock.
_STEPS = 10_000
# Any number, as long as nothing else in the same PostgreSQL database takes it: held while the schema is made.
_UPGRADE_LOCK = 5_238_417_902
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PASSAGE_ID = re.compile("(.+)-([0-9]{1,9})", re.DOTALL)

T = TypeVar("T")
Q = TypeVar("Q", bound=Select[*tuple[Any, ...]])

# What cursors hold: where the last item of a page stands.
_Moment = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
_BY_TIME = TypeAdapter(tuple[_Moment, str])
_BY_TIME_AND_POSITION = TypeAdapter(tuple[_Moment, str, Annotated[int, Field(ge=0, lt=2**31)]])


@dataclass(frozen=True)
class Once:
    """An Idempotency-Key: whose it is, the key, and the digest of the request that came with it."""

    owner: str
    key: str
    digest: str


class DocumentFilter(BaseModel):
    """What a list of documents can be narrowed by; all that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    council: str | None = Field(default=None, description="The council, by its whole name, in any case.")
    kind: Kind | None = Field(default=None, description="The sort of document.")
    since: date | None = Field(default=None, description="Published on this day or later.")
    until: date | None = Field(default=None, description="Published on this day or earlier.")
    theme: str | None = Field(default=None, description="A passage has this theme.")
    stance: str | None = Field(default=None, description="A passage has this stance, and the theme if one is given.")
    text: str | None = Field(
        default=None,
        max_length=200,
        description="Words, or parts of them, in any case: all stand in one passage, or in the title.",
    )


class PassageFilter(BaseModel):
    """What a list of passages can be narrowed by; all that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    council: str | None = Field(default=None, description="The document's council, by its whole name, in any case.")
    kind: Kind | None = Field(default=None, description="The sort of document.")
    since: date | None = Field(default=None, description="The document was published on this day or later.")
    until: date | None = Field(default=None, description="The document was published on this day or earlier.")
    theme: str | None = Field(default=None, description="The passage has this theme.")
    stance: str | None = Field(default=None, description="The passage has this stance.")
    text: str | None = Field(
        default=None, max_length=200, description="Words, or parts of them, in any case: all stand in the passage."
    )
    document: str | None = Field(default=None, description="The id of the document that the passage is of.")
    confident: bool | None = Field(default=None, description="Whether the passage's labels are confident.")


class _Text(TypeDecorator[str]):
    """NUL, which PostgreSQL cannot hold, and halves of surrogate pairs, which no encoding can, become U+FFFD."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else _storable(value)


class _Time(TypeDecorator[datetime]):
    """Times are in UTC; SQLite stores them without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables, as service/migrations makes them. JSON is stored as text, which keeps the order of keys."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: _Text,
        datetime: _Time,
        list[str]: JSON,
        dict[str, Any]: JSON,
    }


class DocumentRow(Base):
    __tablename__ = "documents"

    id: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str | None]
    title: Mapped[str | None]
    council: Mapped[str | None]
    published: Mapped[date | None] = mapped_column(index=True)
    kind: Mapped[str | None]
    url: Mapped[str | None]
    media_type: Mapped[str]
    pages: Mapped[int | None]
    sha256: Mapped[str]
    model: Mapped[str]
    segmentation: Mapped[str]
    summary: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    updated: Mapped[datetime]
    folded_title: Mapped[str | None]
    folded_council: Mapped[str | None] = mapped_column(index=True)

    passages: Mapped[list[PassageRow]] = relationship(order_by="PassageRow.position", lazy="raise", viewonly=True)

    __table_args__ = (Index(None, "created", "id"),)


class PassageRow(Base):
    __tablename__ = "passages"

    document: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    start: Mapped[int]
    end: Mapped[int]
    page: Mapped[int | None]
    themes: Mapped[list[str]]
    stances: Mapped[list[str]]
    primary_stance: Mapped[str | None]
    scores: Mapped[dict[str, Any]]
    confident: Mapped[bool]
    model: Mapped[str]
    folded: Mapped[str]
    # The text's name in the order of the review queue, by which its corrections are found. SQLite can add no column
    # without a default.
    fingerprint: Mapped[str] = mapped_column(index=True, server_default="")
    # The chance that one of the labels is wrong, by the scores.
    doubt: Mapped[float] = mapped_column(server_default="0")
    # What another model said before, where it said something else.
    former: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class LabelRow(Base):
    """A label that is on, as stance/critical."""

    __tablename__ = "labels"

    document: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)

    __table_args__ = (
        ForeignKeyConstraint(["document", "position"], [PassageRow.document, PassageRow.position], ondelete="CASCADE"),
        Index(None, "label", "document", "position"),
    )


class CorrectionRow(Base):
    """What a person said of a text, and where it stood. Never changed; forgotten with its document."""

    __tablename__ = "corrections"

    id: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    fingerprint: Mapped[str]
    text: Mapped[str]
    themes: Mapped[list[str]]
    stances: Mapped[list[str]]
    primary_stance: Mapped[str | None]
    who: Mapped[str]
    # Whose name it is. SQLite can add no column without a default.
    person: Mapped[str] = mapped_column(server_default="")
    key: Mapped[str | None]
    why: Mapped[str | None]
    guide: Mapped[str]
    created: Mapped[datetime]
    given: Mapped[dict[str, Any]]

    __table_args__ = (Index(None, "fingerprint", "person"),)


class OnceRow(Base):
    __tablename__ = "once"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    made: Mapped[str]
    created: Mapped[datetime] = mapped_column(index=True)


class BatchRow(Base):
    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    documents: Mapped[int]
    done: Mapped[int]
    failed: Mapped[int]
    repeated: Mapped[int]
    created: Mapped[datetime]
    updated: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    model: Mapped[str | None]

    __table_args__ = (Index(None, "created", "id"),)

    @property
    def left(self) -> int:
        return self.documents - self.done - self.failed - self.repeated

    @property
    def seconds_left(self) -> int | None:
        if self.state != State.RUNNING or self.started is None or 10 * self.done < self.documents:
            return None
        return round((datetime.now(UTC) - self.started).total_seconds() / self.done * self.left)


class ItemRow(Base):
    """A document of a batch; its content while it waits, and then why it failed or whose content it has."""

    __tablename__ = "batch_items"

    batch: Mapped[str] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    path: Mapped[str | None]
    line: Mapped[int | None]
    given: Mapped[dict[str, Any]]
    sha256: Mapped[str | None]
    error_type: Mapped[str | None]
    error_detail: Mapped[str | None]
    content: Mapped[bytes | None]


class KeyRow(Base):
    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    prefix: Mapped[str]
    digest: Mapped[str] = mapped_column(index=True, unique=True)
    created: Mapped[datetime]
    revoked: Mapped[datetime | None]


_INSIDE = PassageRow.document == DocumentRow.id
_CANDIDATE = select(
    PassageRow.document,
    PassageRow.position,
    PassageRow.fingerprint,
    PassageRow.doubt,
    PassageRow.confident,
    PassageRow.former,
    DocumentRow.folded_council.label("council"),
).join(DocumentRow)
_OPEN = BatchRow.state.in_([State.QUEUED, State.RUNNING])
# States of the documents of a batch.
_WAITING, _DONE, _FAILED, _REPEATED = "waiting", "done", "failed", "repeated"
# Results that are read together.
_READ = 50
# Passages that are read together on the way to those that are drawn.
_WALKED = 500
# Bytes of documents that are sent to the database together.
_TOGETHER = 16_000_000


@dataclass(frozen=True)
class Backlog:
    """Batches that are not finished, and the documents of theirs that wait."""

    queued: int = 0
    running: int = 0
    waiting: int = 0


class Store:
    """Scored documents, batches and API keys. Safe to use from many threads, and from several processes at once.

    What `put`, `update`, `delete` and the like have returned from is on the disk. Raises StoreError, in every method,
    where the database cannot be reached or refuses: locked too long, read-only, full.
    """

    def __init__(self, url: str, seconds: float | None = None) -> None:
        """url: sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/NAME. Opens nothing yet. Raises StoreError.

        seconds: the longest that what only reads may take. Every method that reads raises TimedOut beyond it.
        """
        self._reads, self._writes = _engines(url)
        if seconds is not None:
            _limit(self._reads, seconds)

    def upgrade(self) -> None:
        """Make the schema, or bring it up to this candour's. Of several processes that start at once, one does it."""
        with _transaction(self._writes) as session:
            if self._writes.dialect.name == "postgresql":
                session.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            command.upgrade(configuration(session.connection()), "head")

    def check(self) -> None:
        """Raise StoreError where the store cannot be reached, or has another schema than this candour's."""
        with _transaction(self._reads) as session:
            found = MigrationContext.configure(session.connection()).get_current_revision()
        needed = _head()
        if found != needed:
            raise StoreError(f"the store's schema is revision {found or 'none'}; this candour needs {needed}")

    def close(self) -> None:
        """Close the connections; a store that is used again opens new ones."""
        self._reads.dispose()
        self._writes.dispose()

    def put(self, document: ScoredDocument, once: Once | None = None) -> ScoredDocument:
        """Keep a document; the same content again (by sha256) is the same document, with the new labels.

        Metadata and path that are given take the place of those stored; None leaves them. NUL and halves of surrogate
        pairs are stored as U+FFFD. once: recorded with the document, or not at all. Returns what is now stored. Raises
        KeyReused, and Conflict for another document whose sha256 begins with the same sixteen digits.
        """
        now = datetime.now(UTC)
        given = _metadata(document, document.path)
        found = {
            **document.model_dump(include={"media_type", "pages", "sha256", "model", "segmentation", "summary"}),
            "updated": now,
        }
        with _transaction(self._writes) as session:
            self._record(session, once, document.id, now)
            new = _insert(session, DocumentRow).values(id=document.id, created=now, **given, **found)
            kept = {name: func.coalesce(new.excluded[name], getattr(DocumentRow, name)) for name in given}
            put = new.on_conflict_do_update(
                index_elements=[DocumentRow.id],
                set_=kept | {name: new.excluded[name] for name in found},
                where=DocumentRow.sha256 == document.sha256,
            )
            if session.scalar(put.returning(DocumentRow.id)) is None:
                raise Conflict(f"another document has the id {document.id}")
            _replace_passages(session, document)
            return _get(session, document.id)

    def relabel(self, document: ScoredDocument) -> bool:
        """Give a stored document the labels of another model, and change nothing else that is known of it.

        Returns False, and does nothing, where it was deleted, cut anew or labelled by this model since it was read.
        """
        as_read = (
            DocumentRow.id == document.id,
            DocumentRow.sha256 == document.sha256,
            DocumentRow.segmentation == document.segmentation,
            DocumentRow.model != document.model,
        )
        labels = {**document.model_dump(include={"model", "summary"}), "updated": datetime.now(UTC)}
        with _transaction(self._writes) as session:
            labelled = update(DocumentRow).where(*as_read).values(labels).returning(DocumentRow.id)
            if session.scalar(labelled) is None:
                return False
            _replace_passages(session, document)
            return True

    def update(self, id: str, metadata: Metadata, path: str | None, once: Once | None = None) -> ScoredDocument:  # noqa: A002
        """Change what is known of a document beside its text, as `put` does. Raises NotFound, KeyReused."""
        now = datetime.now(UTC)
        given = {name: value for name, value in _metadata(metadata, path).items() if value is not None}
        with _transaction(self._writes) as session:
            self._record(session, once, id, now)
            session.execute(update(DocumentRow).where(DocumentRow.id == id).values(updated=now, **given))
            return _get(session, id)

    def recall(self, once: Once) -> str | None:
        """The id of what this request has made in the last 24 hours; None where it is new. Raises KeyReused."""
        with _transaction(self._reads) as session:
            found = session.get(OnceRow, (once.owner, once.key))
        if found is None or found.created < datetime.now(UTC) - REMEMBERED:
            return None
        if found.digest != once.digest:
            raise _reused(once.key)
        return found.made

    def _record(self, session: Session, once: Once | None, made: str, now: datetime) -> None:
        if once is None:
            return
        forgotten = OnceRow.created < now - REMEMBERED
        new = _insert(session, OnceRow).values(
            owner=once.owner, key=once.key, digest=once.digest, made=made, created=now
        )
        recorded = new.on_conflict_do_update(
            index_elements=[OnceRow.owner, OnceRow.key],
            set_={"digest": once.digest, "made": made, "created": now},
            where=or_(OnceRow.digest == once.digest, forgotten),
        )
        if session.scalar(recorded.returning(OnceRow.key)) is None:
            raise _reused(once.key)
        # Rows that another transaction is forgetting are left to it: waiting for each other would be a deadlock.
        old = select(OnceRow.owner, OnceRow.key).where(forgotten).with_for_update(skip_locked=True)
        session.execute(delete(OnceRow).where(tuple_(OnceRow.owner, OnceRow.key).in_(old)))

    def version(self, sha256: str) -> tuple[str, str] | None:
        """The model and segmentation of what is stored of these bytes; None where nothing is."""
        query = select(DocumentRow.model, DocumentRow.segmentation)
        with _transaction(self._reads) as session:
            found = session.execute(query.where(DocumentRow.id == sha256[:16], DocumentRow.sha256 == sha256)).first()
            return (found.model, found.segmentation) if found else None

    def get(self, id: str) -> ScoredDocument:  # noqa: A002
        """The document with this id. Raises NotFound."""
        with _transaction(self._reads) as session:
            return _get(session, id)

    def by_others(self, model: str) -> list[str]:
        """The ids of the documents that another model than this labelled, the newest first."""
        query = select(DocumentRow.id).where(DocumentRow.model != model)
        with _transaction(self._reads) as session:
            return list(session.scalars(query.order_by(DocumentRow.created.desc(), DocumentRow.id.desc())))

    def delete(self, id: str) -> None:  # noqa: A002
        """Forget a document, its passages, and what people said of them. Raises NotFound.

        A correction holds the passage's words, and who has a document deleted wants its words gone.
        """
        with _transaction(self._writes) as session:
            if session.scalar(delete(DocumentRow).where(DocumentRow.id == id).returning(DocumentRow.id)) is None:
                raise _no_document(id)

    def documents(self, where: DocumentFilter, cursor: str | None, limit: int) -> Page[DocumentSummary]:
        """Stored documents, the newest first: `limit` (1 or more) of them, from the cursor on.

        What is there while the pages are read is on one of them, once. Raises InvalidInput for a cursor that is none.
        """
        query = select(DocumentRow).where(*_about(where))
        if where.theme is not None or where.stance is not None:
            query = query.where(_labelled(select(PassageRow.position), where).where(_INSIDE).exists())
        if words := _words(where.text):
            titled = and_(*_contain(DocumentRow.folded_title, words))
            worded = select(PassageRow.position).where(_INSIDE, *_contain(PassageRow.folded, words)).exists()
            query = query.where(or_(titled, worded))
        if cursor is not None:
            query = query.where(tuple_(DocumentRow.created, DocumentRow.id) < _place(_BY_TIME, cursor))
        query = query.order_by(DocumentRow.created.desc(), DocumentRow.id.desc()).limit(limit + 1)
        with _transaction(self._reads) as session:
            items = [DocumentSummary.model_validate(row, from_attributes=True) for row in session.scalars(query)]
        return _page(items, limit, lambda last: _cursor(_BY_TIME, (last.created, last.id)))

    def passages(self, where: PassageFilter, cursor: str | None, limit: int) -> Page[FoundPassage]:
        """Passages of stored documents, the newest document's first, in its order; else as `documents`."""
        query = select(PassageRow, DocumentRow).join(DocumentRow).where(*_about(where))
        query = _labelled(query, where).where(*_contain(PassageRow.folded, _words(where.text)))
        if where.document is not None:
            query = query.where(PassageRow.document == where.document)
        if where.confident is not None:
            query = query.where(PassageRow.confident == where.confident)
        if cursor is not None:
            created, document, position = _place(_BY_TIME_AND_POSITION, cursor)
            place = tuple_(DocumentRow.created, DocumentRow.id, -PassageRow.position)
            query = query.where(place < (created, document, -position))
        order = (DocumentRow.created.desc(), DocumentRow.id.desc(), PassageRow.position)
        query = query.order_by(*order).limit(limit + 1)
        with _transaction(self._reads) as session:
            items = [_found(passage, document) for passage, document in session.execute(query)]
        return _page(
            items, limit, lambda last: _cursor(_BY_TIME_AND_POSITION, (last.created, last.document, last.position))
        )

    def passage(self, id: str) -> FoundPassage:  # noqa: A002
        """A passage of a stored document. Raises NotFound."""
        with _transaction(self._reads) as session:
            return _found(*_standing(session, id))

    def correct(self, id: str, said: Said, key: str | None = None) -> Correction:  # noqa: A002
        """Keep what a person says of a passage, beside all that was said of it before. Raises NotFound.

        key: the id of the API key by which it came.
        """
        with _transaction(self._writes) as session:
            passage, document = _standing(session, id, lock=True)
            row = CorrectionRow(
                document=document.id,
                position=passage.position,
                fingerprint=passage.fingerprint,
                text=passage.text,
                themes=list(said.themes),
                stances=list(said.stances),
                primary_stance=said.primary_stance,
                who=said.who.strip(),
                person=person(said.who),
                key=key,
                why=said.why,
                guide=said.guide,
                created=datetime.now(UTC),
                given=_said_by_model(passage),
            )
            session.add(row)
            session.flush()
            session.refresh(row)  # as it is stored
            return _correction(row)

    def corrections(self, id: str) -> list[Correction]:  # noqa: A002
        """All that people said of a passage's text, wherever it stands. Raises NotFound."""
        with _transaction(self._reads) as session:
            passage, _ = _standing(session, id)
            query = select(CorrectionRow).where(CorrectionRow.fingerprint == passage.fingerprint)
            return [_correction(row) for row in session.scalars(query)]

    def corrected(self) -> list[Corrected]:
        """All corrections, each with what is known of its document."""
        query = select(CorrectionRow, DocumentRow).join(DocumentRow)
        texts = select(PassageRow.document, PassageRow.fingerprint)
        texts = texts.where(PassageRow.document.in_(select(CorrectionRow.document)))
        by_document: defaultdict[str, list[str]] = defaultdict(list)
        with _transaction(self._reads) as session:
            for name, text in session.execute(texts):
                by_document[name].append(text)
            passages = {name: frozenset(found) for name, found in by_document.items()}
            return [
                Corrected(
                    _correction(row), Metadata.model_validate(document, from_attributes=True), passages[document.id]
                )
                for row, document in session.execute(query)
            ]

    def corrected_texts(self, who: str | None = None) -> set[str]:
        """The fingerprints of the texts that a person has corrected, however the name is written, or anybody."""
        query = select(CorrectionRow.fingerprint).distinct()
        if who is not None:
            query = query.where(CorrectionRow.person == person(who))
        with _transaction(self._reads) as session:
            return set(session.scalars(query))

    def candidates(self) -> list[Candidate]:
        """The passages that their model is not confident of, and those that the model before labelled differently."""
        doubtful = or_(PassageRow.confident.is_(False), PassageRow.former.is_not(None))
        with _transaction(self._reads) as session:
            return [_candidate(row) for row in session.execute(_CANDIDATE.where(doubtful))]

    def disputed(self) -> list[Candidate]:
        """The passages whose text people label differently."""
        several = select(CorrectionRow.fingerprint).group_by(CorrectionRow.fingerprint)
        several = several.having(func.count(CorrectionRow.person.distinct()) > 1)
        by_text: defaultdict[str, list[Correction]] = defaultdict(list)
        with _transaction(self._reads) as session:
            for row in session.scalars(select(CorrectionRow).where(CorrectionRow.fingerprint.in_(several))):
                by_text[row.fingerprint].append(_correction(row))
            disputed = {text for text, versions in by_text.items() if disagree(present(versions))}
            found = session.execute(_CANDIDATE.where(PassageRow.fingerprint.in_(several)))
            return [_candidate(row) for row in found if row.fingerprint in disputed]

    def drawn(self, without: Collection[str], limit: int) -> list[Candidate]:
        """A passage of each of the first texts, by fingerprint, that are not among those: at most `limit`."""
        query = _CANDIDATE.order_by(PassageRow.fingerprint, PassageRow.document, PassageRow.position).limit(_WALKED)
        found: list[Candidate] = []
        last = ""
        with _transaction(self._reads) as session:
            while rows := session.execute(query.where(PassageRow.fingerprint > last)).all():
                for row in rows:
                    if row.fingerprint != last and row.fingerprint not in without:
                        found.append(_candidate(row))
                    last = row.fingerprint
                if len(found) >= limit:
                    break
        return found[:limit]

    def create_batch(self, owner: str, items: Iterable[Item], once: Once | None = None) -> Batch:
        """A new batch of items, which are read one by one; what reading them raises leaves no batch behind.

        The same `once` is the same batch. Raises KeyReused.
        """
        now = datetime.now(UTC)
        name = secrets.token_hex(8) if once is None else _named_by(once)
        counts: Counter[str] = Counter()
        with _transaction(self._writes) as session:
            self._record(session, once, name, now)
            if (known := session.get(BatchRow, name)) is not None:
                return _batch(known)
            batch = BatchRow(
                id=name, owner=owner, state=State.QUEUED, documents=0, done=0, failed=0, repeated=0, created=now,
                updated=now,
            )  # fmt: skip
            session.add(batch)
            session.flush()
            for rows in _together(_item_rows(name, items)):
                session.execute(insert(ItemRow), rows)
                counts.update(row["state"] for row in rows)
            batch.documents, batch.failed, batch.repeated = counts.total(), counts[_FAILED], counts[_REPEATED]
            _finish_if_all(batch, now)
            return _batch(batch)

    def batch(self, id: str, reader: str) -> Batch:  # noqa: A002
        """A batch that the reader (a key's id, or nobody) may see: its own; any, with the scope admin.

        Raises NotFound.
        """
        with _transaction(self._reads) as session:
            return _batch(_seen(session, id, reader))

    def batches(self, reader: str, cursor: str | None, limit: int) -> Page[Batch]:
        """Batches that the reader may see, the newest first; else as `documents`."""
        query = select(BatchRow)
        if cursor is not None:
            query = query.where(tuple_(BatchRow.created, BatchRow.id) < _place(_BY_TIME, cursor))
        query = query.order_by(BatchRow.created.desc(), BatchRow.id.desc()).limit(limit + 1)
        with _transaction(self._reads) as session:
            items = [_batch(row) for row in session.scalars(query.where(*_visible(session, reader)))]
        return _page(items, limit, lambda last: _cursor(_BY_TIME, (last.created, last.id)))

    def cancel_batch(self, id: str, reader: str) -> Batch:  # noqa: A002
        """A batch of which nothing more is scored. Raises NotFound."""
        now = datetime.now(UTC)
        with _transaction(self._writes) as session:
            batch = _seen(session, id, reader)
            cancelled = {"state": State.CANCELLED, "updated": now, "finished": now}
            session.execute(update(BatchRow).where(BatchRow.id == id, _OPEN).values(cancelled))
            session.execute(update(ItemRow).where(ItemRow.batch == id).values(content=None))
            session.refresh(batch)
            return _batch(batch)

    def results(self, batch: str) -> Iterator[ScoredDocument | Failure]:
        """The results of a batch so far, in its order: documents as they are stored when their turn comes.

        Those that were deleted since are left out.
        """
        query = select(ItemRow).where(ItemRow.batch == batch, ItemRow.state.in_([_DONE, _FAILED]))
        query, after = query.order_by(ItemRow.position).limit(_READ), -1
        while True:
            with _transaction(self._reads) as session:
                items = session.scalars(query.where(ItemRow.position > after)).all()
                ids = [item.sha256[:16] for item in items if item.sha256]
                stored = select(DocumentRow).where(DocumentRow.id.in_(ids)).options(selectinload(DocumentRow.passages))
                documents = {row.sha256: row for row in session.scalars(stored)}
                found = [_result(item, documents) for item in items]
            if not items:
                return
            yield from (result for result in found if result is not None)
            after = items[-1].position

    def backlog(self) -> Backlog:
        """What there is to do."""
        left = BatchRow.documents - BatchRow.done - BatchRow.failed - BatchRow.repeated
        query = select(BatchRow.state, func.count(), func.sum(left)).where(_OPEN).group_by(BatchRow.state)
        with _transaction(self._reads) as session:
            found = {state: (count, waiting) for state, count, waiting in session.execute(query)}
        (queued, first), (running, second) = (found.get(state, (0, 0)) for state in (State.QUEUED, State.RUNNING))
        return Backlog(queued, running, first + second)

    def adopt_batches(self, before: datetime) -> list[str]:
        """Ids of batches that are not finished, and of which there was no news since then; this is news of them."""
        adopted = update(BatchRow).where(_OPEN, BatchRow.updated < before).values(updated=datetime.now(UTC))
        with _transaction(self._writes) as session:
            return list(session.scalars(adopted.returning(BatchRow.id)))

    def waiting(self, batch: str) -> list[int]:
        """The positions of a batch's documents that wait, in order."""
        query = select(ItemRow.position).where(ItemRow.batch == batch, ItemRow.state == _WAITING)
        with _transaction(self._reads) as session:
            return list(session.scalars(query.order_by(ItemRow.position)))

    def begin_item(self, batch: str, position: int, model: str) -> Item | None:
        """A document that waits, for a model to label; None where it is done, or its batch cancelled."""
        now = datetime.now(UTC)
        running = {"state": State.RUNNING, "model": model, "started": func.coalesce(BatchRow.started, now)}
        with _transaction(self._writes) as session:
            row = session.get(ItemRow, (batch, position))
            if row is None or row.state != _WAITING:
                return None
            begun = update(BatchRow).where(BatchRow.id == batch, _OPEN).values(running).returning(BatchRow.id)
            if session.scalar(begun) is None:
                return None
            return Item(row.content, row.path, row.line, Metadata.model_validate(row.given))

    def finish_item(self, batch: str, position: int, problem: Problem | None = None) -> None:
        """Say that a document is scored, or what is wrong with it. Does nothing where that was said, or cancelled."""
        now = datetime.now(UTC)
        with _transaction(self._writes) as session:
            # The batch is locked first, by all, and its counts are those of its documents.
            row = session.scalar(select(BatchRow).where(BatchRow.id == batch, _OPEN).with_for_update())
            item = session.get(ItemRow, (batch, position))
            if row is None or item is None or item.state != _WAITING:
                return
            item.content = None
            if problem is None:
                item.state, row.done = _DONE, row.done + 1
            else:
                wrong = {"state": _FAILED, "error_type": problem.type, "error_detail": problem.detail}
                same = update(ItemRow).where(ItemRow.batch == batch, ItemRow.sha256 == item.sha256)
                failed = len(session.scalars(same.values(wrong).returning(ItemRow.position)).all())
                row.failed, row.repeated = row.failed + failed, row.repeated - (failed - 1)
            row.updated = now
            _finish_if_all(row, now)

    def create_key(self, name: str, scopes: Collection[Scope]) -> tuple[Key, str]:
        """A new key, and its token, which cannot be had again."""
        token = keys.new_token()
        row = KeyRow(
            id=secrets.token_hex(8),
            name=name,
            scopes=[scope for scope in Scope if scope in scopes],
            prefix=keys.prefix(token),
            digest=keys.digest(token),
            created=datetime.now(UTC),
        )
        with _transaction(self._writes) as session:
            session.add(row)
            session.flush()
            session.refresh(row)  # as it is stored
            return _key(row), token

    def keys(self) -> list[Key]:
        """All keys, the oldest first, those revoked too."""
        with _transaction(self._reads) as session:
            return [_key(row) for row in session.scalars(select(KeyRow).order_by(KeyRow.created, KeyRow.id))]

    def key(self, id: str) -> Key:  # noqa: A002
        """The key with this id, revoked or not. Raises NotFound."""
        with _transaction(self._reads) as session:
            row = session.get(KeyRow, id)
            if row is None:
                raise NotFound(f"there is no key {id!r}")
            return _key(row)

    def revoke_key(self, id: str) -> Key:  # noqa: A002
        """The key, which opens nothing from now on. Raises NotFound."""
        with _transaction(self._writes) as session:
            row = session.get(KeyRow, id)
            if row is None:
                raise NotFound(f"there is no key {id!r}")
            row.revoked = row.revoked or datetime.now(UTC)
            return _key(row)

    def authenticate(self, token: str) -> Key | None:
        """The key of a token; None where it is unknown or revoked."""
        with _transaction(self._reads) as session:
            row = session.scalar(select(KeyRow).where(KeyRow.digest == keys.digest(token), KeyRow.revoked.is_(None)))
            return _key(row) if row else None

    def has_keys(self) -> bool:
        """Whether a key was ever made, revoked or not."""
        with _transaction(self._reads) as session:
            return session.scalar(select(KeyRow.id).limit(1)) is not None


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """The store of a URL, with its schema, closed after the block. Raises StoreError."""
    store = Store(url)
    try:
        store.upgrade()
        yield store
    finally:
        store.close()


def configuration(connection: Connection) -> Config:
    """Alembic's configuration, for its commands (alembic.command) on a database."""
    config = _scripts()
    config.attributes["connection"] = connection
    return config


def _scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", "service:migrations")
    return config


@cache
def _head() -> str | None:
    """The schema of this candour."""
    return ScriptDirectory.from_config(_scripts()).get_current_head()


def _engines(url: str) -> tuple[Engine, Engine]:
    """One database for transactions that read, and the same for those that write. Raises StoreError."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise StoreError("the store's URL is none: it begins with sqlite:/// or postgresql://") from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise StoreError(f"the store's URL begins with {parsed.drivername}://; candour knows sqlite and postgresql")
    if driver == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError("the store's URL names no file: sqlite:///PATH")
    parsed = parsed.set(drivername=driver)
    parsed = parsed.update_query_dict({**_WAITS[parsed.get_backend_name()], **parsed.query})
    try:
        if driver == "sqlite":
            # Writers take turns in the pool of one: SQLite's own lock has no queue, and some would wait for seconds.
            reads, writes = create_engine(parsed, max_overflow=-1), create_engine(parsed, pool_size=1, max_overflow=0)
            _prepare(reads, "BEGIN")
            # A transaction that takes the lock later than here is refused where another wrote since it began to read.
            _prepare(writes, "BEGIN IMMEDIATE")
            return reads, writes
        engine = create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise StoreError("PostgreSQL needs a package more: pip install -e '.[postgres]'") from None
    # A document and its passages are read by two statements, and must be of one moment.
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True), engine


def _prepare(engine: Engine, begin: str) -> None:
    """Make an engine's connections to SQLite safe, and begin its transactions so."""

    def connected(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # Python's own BEGIN would come late, and never be IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        # FULL: what was acknowledged survives a power cut.
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))


def _limit(engine: Engine, seconds: float) -> None:
    """Let an engine's transactions (on PostgreSQL, each of their statements) end after so many seconds."""

    def begun(connection: Connection) -> None:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(1000 * seconds))}")
        else:
            last = time.monotonic() + seconds
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.set_progress_handler(lambda: time.monotonic() > last, _STEPS)

    event.listen(engine, "begin", begun)


@contextmanager
def _transaction(engine: Engine) -> Iterator[Session]:
    """A transaction, undone where the block fails. All that the database refuses becomes StoreError here."""
    try:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
    except (SQLAlchemyError, CommandError) as error:
        if _was_stopped(getattr(error, "orig", None)):
            raise TimedOut("finding this in the store took too long: ask for less") from error
        reason = str(getattr(error, "orig", None) or error.args[0]).partition("\n")[0]
        raise StoreError(f"the store of documents cannot be used: {reason}") from error


def _was_stopped(error: object) -> bool:
    """Whether this is what SQLite or PostgreSQL says of a statement that _limit ended."""
    return getattr(error, "sqlite_errorname", None) == "SQLITE_INTERRUPT" or getattr(error, "sqlstate", None) == "57014"


def _insert(session: Session, row: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which each dialect has of its own."""
    return postgresql.insert(row) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(row)


def _metadata(given: Metadata, path: str | None) -> dict[str, Any]:
    """Columns of what is known beside the text."""
    return {
        **given.model_dump(include=set(Metadata.model_fields)),
        "path": path,
        "folded_title": None if given.title is None else _fold(given.title),
        "folded_council": None if given.council is None else _fold(given.council),
    }


def _replace_passages(session: Session, document: ScoredDocument) -> None:
    """Put a document's passages in the place of those stored, of which what another model said is kept."""
    former = _former(session, document)
    session.execute(delete(PassageRow).where(PassageRow.document == document.id))
    if passages := list(_passage_rows(document, former)):
        session.execute(insert(PassageRow), passages)
    if labels := list(_label_rows(document)):
        session.execute(insert(LabelRow), labels)


def _former(session: Session, document: ScoredDocument) -> dict[str, dict[str, Any]]:
    """What another model said of each text of a stored document that is put anew, by fingerprint."""
    found = {}
    for row in session.scalars(select(PassageRow).where(PassageRow.document == document.id)):
        said = _said_by_model(row) if row.model != document.model else row.former
        if said is not None:
            found[row.fingerprint] = said
    return found


def _said_by_model(passage: PassageRow) -> dict[str, Any]:
    return Labelled.model_validate(passage, from_attributes=True).model_dump()


def _passage_rows(document: ScoredDocument, former: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for position, passage in enumerate(document.passages):
        name = fingerprint(_storable(passage.text))
        before = former.get(name)
        differs = before is not None and verdict(Labelled.model_validate(before)) != verdict(passage)
        yield {
            "document": document.id,
            "position": position,
            "folded": _fold(passage.text),
            "fingerprint": name,
            "doubt": doubt(passage.themes, passage.stances, passage.scores),
            "former": before if differs else None,
            **passage.model_dump(),
        }


def _label_rows(document: ScoredDocument) -> Iterator[dict[str, Any]]:
    for position, passage in enumerate(document.passages):
        for label in [f"theme/{name}" for name in passage.themes] + [f"stance/{name}" for name in passage.stances]:
            yield {"document": document.id, "position": position, "label": label}


def _fold(text: str) -> str:
    """As texts are searched: whatever the case, the quotation marks and hyphens, and how an accent is encoded."""
    return normalise(text).casefold()


def _read(session: Session, *conditions: ColumnElement[bool]) -> ScoredDocument | None:
    row = session.scalar(select(DocumentRow).where(*conditions).options(selectinload(DocumentRow.passages)))
    return ScoredDocument.model_validate(row, from_attributes=True) if row else None


def _get(session: Session, id: str) -> ScoredDocument:  # noqa: A002
    document = _read(session, DocumentRow.id == id)
    if document is None:
        raise _no_document(id)
    return document


def _named_by(once: Once) -> str:
    """The id of what a request makes, which is the same when it comes again."""
    return hashlib.sha256(f"{once.owner} {once.key} {once.digest}".encode()).hexdigest()[:16]


def _item_rows(batch: str, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for position, item in enumerate(items):
        sha256 = item.sha256
        state = _FAILED if sha256 is None else _REPEATED if sha256 in seen else _WAITING
        if sha256 is not None:
            seen.add(sha256)
        yield {
            "batch": batch,
            "position": position,
            "state": state,
            "path": item.path,
            "line": item.line,
            "given": item.metadata.model_dump(mode="json"),
            "sha256": sha256,
            "error_type": item.problem and item.problem.type,
            "error_detail": item.problem and item.problem.detail,
            "content": item.content if state == _WAITING else None,
        }


def _together(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in lists of some _TOGETHER bytes, as if each had a thousand beside its content."""
    held: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += 1_000 + len(row["content"] or b"")
        if size >= _TOGETHER:
            yield held
            held, size = [], 0
    if held:
        yield held


def _finish_if_all(batch: BatchRow, now: datetime) -> None:
    if not batch.left:
        batch.state, batch.finished = State.DONE, now


def _visible(session: Session, reader: str) -> list[ColumnElement[bool]]:
    """The condition on batches that a reader may see."""
    key = session.get(KeyRow, reader)
    return [] if key is not None and _key(key).allows(Scope.ADMIN) else [BatchRow.owner == reader]


def _seen(session: Session, id: str, reader: str) -> BatchRow:  # noqa: A002
    row = session.scalar(select(BatchRow).where(BatchRow.id == id, *_visible(session, reader)))
    if row is None:
        raise NotFound(f"there is no batch {id!r}")
    return row


def _batch(row: BatchRow) -> Batch:
    return Batch.model_validate(row, from_attributes=True)


def _result(item: ItemRow, documents: dict[str, DocumentRow]) -> ScoredDocument | Failure | None:
    """None for a document that was deleted since."""
    if item.state == _FAILED:
        assert item.error_type is not None and item.error_detail is not None
        error = Problem(type=item.error_type, detail=item.error_detail)
        return Failure(path=item.path, line=item.line if item.path is None else None, error=error)
    row = documents.get(item.sha256 or "")
    if row is None:
        return None
    document = ScoredDocument.model_validate(row, from_attributes=True)
    return document if item.path is None else document.model_copy(update={"path": item.path})


def _no_document(id: str) -> NotFound:  # noqa: A002
    return NotFound(f"there is no document {id!r}")


def _reused(key: str) -> KeyReused:
    return KeyReused(f"the Idempotency-Key {key!r} came before with another request")


def _standing(session: Session, id: str, lock: bool = False) -> tuple[PassageRow, DocumentRow]:  # noqa: A002
    """The passage of an id and its document. lock: the document is not deleted until the transaction ends."""
    if place := _PASSAGE_ID.fullmatch(id):
        document, position = place[1], int(place[2])
        query = select(PassageRow, DocumentRow).join(DocumentRow)
        query = query.where(PassageRow.document == document, PassageRow.position == position)
        if lock:
            query = query.with_for_update(read=True, of=DocumentRow)
        if found := session.execute(query).first():
            return found[0], found[1]
    raise NotFound(f"there is no passage {id!r}")


def _correction(row: CorrectionRow) -> Correction:
    return Correction.model_validate(row, from_attributes=True)


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(**row._mapping)


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _key(row: KeyRow) -> Key:
    return Key.model_validate(row, from_attributes=True)


def _found(passage: PassageRow, document: DocumentRow) -> FoundPassage:
    return FoundPassage(
        id=f"{document.id}-{passage.position}",
        document=document.id,
        position=passage.position,
        created=document.created,
        **{name: getattr(passage, name) for name in ScoredPassage.model_fields},
        **{name: getattr(document, name) for name in Metadata.model_fields},
    )


def _about(where: DocumentFilter | PassageFilter) -> Iterator[ColumnElement[bool]]:
    """Conditions on the document."""
    if where.council is not None:
        yield DocumentRow.folded_council == _fold(where.council)
    if where.kind is not None:
        yield DocumentRow.kind == where.kind
    if where.since is not None:
        yield DocumentRow.published >= where.since
    if where.until is not None:
        yield DocumentRow.published <= where.until


def _labelled(query: Q, where: DocumentFilter | PassageFilter) -> Q:
    """A query of passages, of those alone that have the theme and the stance. A join: it may begin with the label."""
    wanted = [f"{axis}/{name}" for axis, name in (("theme", where.theme), ("stance", where.stance)) if name is not None]
    for name in wanted:
        label = aliased(LabelRow)
        here = and_(label.document == PassageRow.document, label.position == PassageRow.position)
        query = query.join(label, and_(here, label.label == name))
    return query


def _contain(column: InstrumentedAttribute[Any], words: list[str]) -> list[ColumnElement[bool]]:
    return [column.contains(word, autoescape=True) for word in words]


def _words(text: str | None) -> list[str]:
    return _fold(text or "").split()


def _page(items: list[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """items: one more than the limit where another page follows."""
    return Page(items=items[:limit], next=cursor(items[limit - 1]) if len(items) > limit else None)


def _cursor(places: TypeAdapter[T], place: T) -> str:
    return base64.urlsafe_b64encode(places.dump_json(place)).decode().rstrip("=")


def _place(places: TypeAdapter[T], cursor: str) -> T:
    try:
        return places.validate_json(base64.urlsafe_b64decode(cursor + "=="))
    except (ValueError, OverflowError):
        raise InvalidInput("the cursor is none that this list gave") from None

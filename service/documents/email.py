"""E-mail (EML): the subject, the date and the body of a message; attachments are left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Any

from labels.passages import SPEAKING, BlockKind
from service.documents import html, text
from service.documents.document import Document, Draft
from service.errors import DamagedDocument, DocumentError, EncryptedDocument, NoText

_HEADER = re.compile(r"^([A-Za-z][A-Za-z0-9-]+):[ \t]")
_TELLING = frozenset({"from", "to", "subject", "date", "message-id", "mime-version", "received", "return-path"})
_SEALED = frozenset({"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})
# A plain body of fewer words than this may only say that the message is in HTML.
FEWEST_WORDS = 30

_SIGNATURE = re.compile(r"^-- ?$", re.M)
_REPLY = re.compile(
    r"^(?:On [^\n]{5,200}(?:\n[^\n]{0,120})?\bwrote:[ \t]*|-{2,} ?Original Message ?-{2,}.*|_{10,}\n+From: .*)$", re.M
)
_FORWARDED = re.compile(
    r"^(?:-{5,} ?Forwarded message ?-{5,}|Begin forwarded message:)\s*\n+(?:[ \t]*[A-Z][a-z-]+:[^\n]*\n)*", re.M
)


def looks_like(content: str) -> bool:
    """Whether a text begins with the headers of a message: at least three that only a message has."""
    head = content[:20_000].lstrip().split("\n\n", 1)[0]
    names = {found[1].lower() for line in head.splitlines() if (found := _HEADER.match(line))}
    return len(names & _TELLING) >= 3


def read(data: bytes) -> Document:
    """The body (plain text, else HTML) of a message.

    Raises NoText where it has neither, EncryptedDocument where it is sealed, DamagedDocument where its parts nest
    beyond reason.
    """
    try:
        message = message_from_bytes(data.lstrip(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        plain, page = message.get_body(("plain",)), message.get_body(("html",))
    except RecursionError as error:
        raise DamagedDocument("an e-mail whose parts nest too deep to be read") from error
    if message.get_content_type() in _SEALED:
        raise EncryptedDocument("the e-mail is encrypted or sealed, and cannot be read without its key")
    title, published = _subject(message), _sent(message)
    content, markup = (_content(part) if part else "" for part in (plain, page))
    if markup.strip() and len(content.split()) < FEWEST_WORDS:
        try:
            found = html.read(markup)
        except DocumentError:
            if not content.strip():
                raise
        else:
            return Document("message/rfc822", found.text, found.blocks, title or found.title, published)
    if not content.strip():
        raise NoText("an e-mail without a text or HTML body")
    return _draft(_blocks(content)).finish("message/rfc822", title=title, published=published)


def _draft(blocks: list[tuple[BlockKind, str]]) -> Draft:
    draft = Draft()
    for kind, block in blocks:
        draft.add(kind, block)
    return draft


def _blocks(content: str) -> list[tuple[BlockKind, str]]:
    """The blocks of a plain body. What it answers and its signature are furniture, unless nothing else is there."""
    content = _FORWARDED.sub("\n", content)
    ends = [found.start() for found in (_SIGNATURE.search(content), _REPLY.search(content)) if found]
    cut = min(ends, default=len(content))
    own = text.blocks(content[:cut])
    rest = text.blocks(content[cut:])
    if not _speaks(own):
        return text.blocks(content)
    return [*own, *((BlockKind.FURNITURE, block) for _, block in rest)]


def _speaks(blocks: list[tuple[BlockKind, str]]) -> bool:
    return any(kind in SPEAKING and not block.endswith(":") for kind, block in blocks)


def _content(part: MIMEPart[Any, Any]) -> str:
    """The text of a part: as UTF-8 where it is that, whatever it is said to be; else as said; else by detection."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    for charset in _charsets(part):
        try:
            return text.decode(payload.decode(charset).encode("utf-8"))
        except (LookupError, ValueError):
            continue
    return text.decode(payload)


def _charsets(part: MIMEPart[Any, Any]) -> Iterator[str]:
    yield "utf-8"
    said = (part.get_content_charset() or "").lower()
    # Only text encodings: Python also has "hex" and "zlib", which are none.
    if said and said not in ("us-ascii", "iso-8859-1", "latin-1", "latin1", "unknown-8bit"):
        yield said


def _subject(message: EmailMessage) -> str | None:
    try:
        return " ".join(str(message["subject"] or "").split()) or None
    except (ValueError, LookupError, TypeError, AttributeError):  # headers that the standard library cannot parse
        return None


def _sent(message: EmailMessage) -> date | None:
    try:
        sent = message["date"]
        return sent.datetime.date() if sent is not None and sent.datetime is not None else None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None

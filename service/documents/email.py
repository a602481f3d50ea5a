"""E-mail (EML): the subject, the date and the body of a message; attachments are left alone."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage

from service.documents import html, text
from service.documents.document import Document, Draft
from service.errors import NoText

_HEADER = re.compile(r"^([A-Za-z][A-Za-z0-9-]+):[ \t]")
_TELLING = frozenset({"from", "to", "subject", "date", "message-id", "mime-version", "received", "return-path"})


def looks_like(content: str) -> bool:
    """Whether a text begins with the headers of a message: at least three that only a message has."""
    head = content.lstrip().split("\n\n", 1)[0]
    names = {found[1].lower() for line in head.splitlines() if (found := _HEADER.match(line))}
    return len(names & _TELLING) >= 3


def read(data: bytes) -> Document:
    """The body (plain text, else HTML) of a message. Raises NoText where it has neither."""
    message = message_from_bytes(data.lstrip(), policy=policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(preferencelist=("plain", "html"))
    content = _content(body) if body is not None else ""
    if body is None or not content.strip():
        raise NoText("an e-mail without a text or HTML body")
    subject = str(message["subject"] or "") or None
    sent = message["date"]
    published = sent.datetime.date() if sent is not None and sent.datetime is not None else None
    if body.get_content_subtype() == "html":
        page = html.read(content)
        return Document("message/rfc822", page.text, page.blocks, subject or page.title, published or page.published)
    draft = Draft()
    for kind, block in text.blocks(content):
        draft.add(kind, block)
    return draft.finish("message/rfc822", title=subject, published=published)


def _content(body: EmailMessage) -> str:
    try:
        content = body.get_content()
    except (LookupError, UnicodeDecodeError):  # a charset that does not exist, or is not the one named
        payload = body.get_payload(decode=True)
        content = text.decode(payload) if isinstance(payload, bytes) else ""
    return content if isinstance(content, str) else ""

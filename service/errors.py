"""Domain errors. They know nothing of HTTP or of the command line; each front end maps them once."""

from __future__ import annotations

from typing import ClassVar


class CandourError(Exception):
    """An error that a user can act on. `type` is stable and machine-readable; str(error) is one clear sentence."""

    type: ClassVar[str] = "error"


class DocumentError(CandourError):
    """A document that cannot be scored."""


class EmptyDocument(DocumentError):
    type = "empty-document"


class UnsupportedDocument(DocumentError):
    type = "unsupported-document"


class DamagedDocument(DocumentError):
    type = "damaged-document"


class EncryptedDocument(DocumentError):
    type = "encrypted-document"


class NoText(DocumentError):
    """The document is sound and holds nothing to score: a scan, an empty page, headings alone."""

    type = "no-text"


class ErrorPage(DocumentError):
    """A web page that says that something is not there, saved in place of the document."""

    type = "error-page"


class TooLarge(DocumentError):
    type = "too-large"


class Unreadable(DocumentError):
    """The file is not there, or may not be read."""

    type = "unreadable"


class InvalidInput(CandourError):
    """A text or request that cannot be classified."""

    type = "invalid-input"


class UnsupportedBody(CandourError):
    """A request whose body is of a type that the API does not read."""

    type = "unsupported-body"


class NotReady(CandourError):
    """The service cannot answer yet, or just now."""

    type = "not-ready"

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


class TooComplex(DocumentError):
    """Reading it took more time or memory than the settings allow."""

    type = "too-complex"


class Unreadable(DocumentError):
    """The file is not there, or may not be read."""

    type = "unreadable"


class InvalidMetadata(DocumentError):
    """The file beside a document that says what is known of it cannot be read."""

    type = "invalid-metadata"


class OutputError(CandourError):
    """Results that cannot be written where they should go."""


class NotAnOutput(OutputError):
    type = "not-an-output"


class OutputInUse(OutputError):
    type = "output-in-use"


class InvalidInput(CandourError):
    """A text or request that cannot be classified."""

    type = "invalid-input"


class UnsupportedBody(CandourError):
    """A request whose body is of a type that the API does not read."""

    type = "unsupported-body"


class MalformedRequest(CandourError):
    """A request that is not what it says it is: JSON that is none, a form without its boundary."""

    type = "malformed-request"


class Unauthorised(CandourError):
    """A request without a key that is known."""

    type = "unauthorised"


class Forbidden(CandourError):
    """A request with a key that does not have the scope."""

    type = "forbidden"


class NotFound(CandourError):
    type = "not-found"


class Conflict(CandourError):
    """A request that another one, still at work, stands in the way of."""

    type = "conflict"


class KeyReused(CandourError):
    """An Idempotency-Key that came before with another request."""

    type = "idempotency-key-reused"


class RateLimited(CandourError):
    """More requests than the key may make. retry_after: seconds until the next may come."""

    type = "rate-limited"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(CandourError):
    """What the service cannot do now, and may soon."""


class NotReady(Unavailable):
    """The service cannot answer yet, or just now."""

    type = "not-ready"


class Saturated(Unavailable):
    """As many requests are at work as the settings allow."""

    type = "saturated"


class TimedOut(Unavailable):
    """A request that took longer than the settings allow."""

    type = "timed-out"


class StoreError(Unavailable):
    """The store of documents cannot be reached, or is not of this candour."""

    type = "store"


class CollectError(CandourError):
    """Why collecting cannot begin: sources that are not right, or a folder that another run is at work in."""

    type = "collect"


class ClusterError(CandourError):
    """A Ray cluster that cannot be reached, or cannot go on."""

    type = "cluster"


class RetrainError(Unavailable):
    """Why a model cannot be retrained."""

    type = "retrain"

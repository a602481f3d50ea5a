"""Bytes to a document: its text, and the blocks in it. One module a format; the type is decided by content."""

from service.documents.document import Document
from service.documents.reading import read

__all__ = ["Document", "read"]

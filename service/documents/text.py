"""Plain text, and the decoding of bytes that every text format shares."""

from __future__ import annotations

import re
from collections.abc import Iterator

from charset_normalizer import from_bytes

from labels.passages import BlockKind
from service.documents.document import Document, Draft
from service.documents.furniture import is_furniture, is_heading
from service.errors import UnsupportedDocument

ITEM = re.compile(r"\s*(?:[-*+•◦▪■◼●–·\uf0b7]|\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)])\s+(?=\S)")
QUOTE = re.compile(r"\s*>+\s?")
# Control characters other than white space have no place in text; NUL and the replacement mark betray binary data.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]")
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode(data: bytes) -> str:
    """Bytes to text: by byte order mark, as UTF-8, else by detection. Raises UnsupportedDocument for binary data."""
    return _readable(_decode(data)).replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # Candidates of western Europe first: English text in them differs only in quotes, dashes and pound signs.
        best = from_bytes(data[:200_000], cp_isolation=["cp1252", "utf_16_le", "utf_16_be", "mac_roman"]).best()
        if best is None:
            raise UnsupportedDocument("binary data: no text encoding fits it") from None
        return data.decode(best.encoding, errors="replace")


def _readable(content: str) -> str:
    sample = content[:200_000]
    if len(_CONTROL.findall(sample)) > 0.002 * len(sample):
        raise UnsupportedDocument("binary data: too many characters that no text has")
    return _CONTROL.sub("", content)


def read(content: str) -> Document:
    """Paragraphs are parted by empty lines or, where there are none, by line ends; list marks begin items."""
    draft = Draft()
    for kind, block in blocks(content):
        draft.add(kind, block)
    return draft.finish("text/plain", title=draft.first(BlockKind.HEADING))


def blocks(content: str) -> Iterator[tuple[BlockKind, str]]:
    """The blocks of a plain text with their kinds, lines joined by a space."""
    chunks = re.split(r"\n[ \t]*\n+", content.strip("\n"))
    if len(chunks) == 1 and not _is_wrapped(content):
        chunks = content.splitlines()
    for chunk in chunks:
        yield from _chunk(chunk)


def _is_wrapped(content: str) -> bool:
    """Lines of one paragraph end mid-sentence; lines that are paragraphs do not."""
    lines = [line.rstrip() for line in content.splitlines() if line.strip()]
    return sum(line[-1] not in ".!?:;\"'\u2019\u201d)" and len(line) > 40 for line in lines[:-1]) * 2 > len(lines) - 1


def _chunk(chunk: str) -> Iterator[tuple[BlockKind, str]]:
    lines = chunk.splitlines()
    if len(lines) > 1 and not any(ITEM.match(line) or QUOTE.match(line) for line in lines) and is_heading(lines[0]):
        # A heading set directly on its paragraph: a short unfinished line before one that begins a sentence.
        if len(lines[0]) < 0.6 * len(lines[1]) and lines[1].lstrip()[:1].isupper():
            yield BlockKind.HEADING, lines[0]
            lines = lines[1:]
    groups: list[tuple[BlockKind, list[str]]] = []
    for line in lines:
        if QUOTE.match(line):
            line = QUOTE.sub("", line)
            if groups and groups[-1][0] is BlockKind.QUOTE and line.strip():
                groups[-1][1].append(line)
            else:
                groups.append((BlockKind.QUOTE, [line]))
        elif ITEM.match(line):
            groups.append((BlockKind.ITEM, [ITEM.sub("", line, count=1)]))
        elif groups and groups[-1][0] is not BlockKind.QUOTE:
            groups[-1][1].append(line)
        else:
            groups.append((BlockKind.PARAGRAPH, [line]))
    for kind, parts in groups:
        block = " ".join(part.strip() for part in parts).strip()
        if not block:
            continue
        if is_furniture(block):
            yield BlockKind.FURNITURE, block
        elif kind is BlockKind.PARAGRAPH and len(parts) == 1 and is_heading(block):
            yield BlockKind.HEADING, block
        else:
            yield kind, block

"""Plain text, and the decoding of bytes that every text format shares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest

from labels.passages import BlockKind
from service.documents.document import Document, Draft
from service.documents.furniture import is_heading, settle
from service.errors import UnsupportedDocument

# Marks that nothing but an item begins with; those that a wrapped line may begin with as well; numbers and letters.
_BULLET = r"(?:[•◦▪■◼●·‣⁃➢✓\uf0b7\uf0a7]\s*|[*+]\s+)"
_DASH = r"[-–—o]"
_NUMBER = r"\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)]|\(?[A-Z]\)"
ITEM = re.compile(rf"\s*(?:{_BULLET}|(?:{_DASH}|{_NUMBER})\s+)(?=\S)")
_PLAIN_BULLET = re.compile(rf"\s*{_BULLET}(?=\S)")
# '4.2 Members noted': the number of a paragraph of minutes or of a report.
_PARAGRAPH_NUMBER = re.compile(r"\s*\d{1,3}(?:\.\d{1,3}){1,3}\.?\s+(?=[A-Z“‘\"'(])")
_NUMBERED_TITLE = re.compile(r"\s*\d{1,2}\.?\s+[A-Z][^.!?;:]{1,80}")
_QUOTE = re.compile(r"\s*>[> ]*")
_RULE = re.compile(r"\s*([-=_*~#])(?:\s?\1){2,}\s*")
_EMPTY_LINES = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_ENDS = ".!?:;\"'’”)"
# Longer lines than this are not wrapped by hand or by a mail program.
WIDEST = 120

# Control characters other than white space have no place in text; NUL and the replacement mark betray binary data.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffd\ufffe\uffff]")
_LINE_ENDS = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]")
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def decode(data: bytes) -> str:
    """Bytes to text with line ends as newlines. Raises UnsupportedDocument for binary data.

    By byte order mark; as UTF-16 by its zeros; as UTF-8, where most of it is; else as Windows-1252 or Mac Roman, which
    for English differ in quotes, dashes and pound signs.
    """
    content = _decode(data)
    sample = content[:200_000]
    if len(_CONTROL.findall(sample)) > 0.002 * len(sample) + min(2, 0.01 * len(sample)):
        raise UnsupportedDocument("binary data: it holds too many characters that no text has")
    return _LINE_ENDS.sub("\n", _CONTROL.sub("", content))


def _decode(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    head = data[:2_000]
    for zeros, encoding in ((head[1::2], "utf-16-le"), (head[::2], "utf-16-be")):
        if zeros.count(0) > 0.6 * len(zeros) and head.count(0) < 0.6 * len(head):
            return data.decode(encoding, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        content = data.decode("utf-8", errors="replace")
    wrong = content.count("\ufffd")
    if sum(not character.isascii() for character in content) > 4 * wrong:
        return content
    # The curly quotes of Mac Roman are Ò to Õ in Windows-1252, whose own are ë, í, ì and î in Mac Roman.
    mac = sum(map(data.count, (b"\xd0", b"\xd2", b"\xd3", b"\xd4", b"\xd5")))
    windows = sum(map(data.count, (b"\x91", b"\x92", b"\x93", b"\x94", b"\x96")))
    return data.decode("mac_roman" if mac > windows else "cp1252", errors="replace")


def read(content: str) -> Document:
    """Paragraphs are parted by empty lines or, where there are none, by line ends; list marks begin items."""
    draft = Draft()
    for kind, block in blocks(content):
        draft.add(kind, block)
    return draft.finish("text/plain", title=draft.first(BlockKind.HEADING))


def blocks(content: str) -> list[tuple[BlockKind, str]]:
    """The blocks of a plain text with their kinds, lines joined by a space."""
    chunks = [chunk.split("\n") for chunk in _EMPTY_LINES.split(content.strip())]
    if len(chunks) == 1:
        chunks = list(_paragraphs(chunks[0]))
    titles = [len(chunk) == 1 and _NUMBERED_TITLE.fullmatch(chunk[0]) is not None for chunk in chunks]
    found: list[tuple[BlockKind, str]] = []
    for index, chunk in enumerate(chunks):
        # '3. Minutes', with no '2.' or '4.' beside it: the heading of what follows, and no item of a list.
        alone = titles[index] and sum(titles[max(0, index - 1) : index + 2]) == 1
        led = found and found[-1][1].endswith(":")
        found += [(BlockKind.PARAGRAPH, unmarked(chunk[0])[1])] if alone and not led else _chunk(chunk)
    return settle(found)


def unmarked(text: str) -> tuple[BlockKind, str]:
    """A paragraph without the bullet or number that opens it, and whether that makes it an item."""
    if number := _PARAGRAPH_NUMBER.match(text):
        return BlockKind.PARAGRAPH, text[number.end() :]
    if mark := ITEM.match(text):
        return BlockKind.ITEM, text[mark.end() :]
    return BlockKind.PARAGRAPH, text


def parted(text: str, mark: str) -> Iterator[str]:
    """The paragraphs of a text with line breaks: parted by two of them, or by one after the end of a sentence."""
    held = ""
    for part in text.split(mark):
        part = " ".join(part.split())
        if held and (not part or held[-1] in '.!?:”"'):
            yield held
            held = ""
        held = f"{held} {part}" if held and part else held or part
    if held:
        yield held


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """The paragraphs of a text without empty lines: each line one, or, where they are wrapped, up to a short line."""
    width = max(map(len, lines))
    if width > WIDEST or not _is_wrapped(lines):
        yield from ([line] for line in lines)
        return
    held: list[str] = []
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        held.append(line)
        # The next word would have fitted on the line, had the paragraph gone on.
        short = len(f"{line.rstrip()} {following.split(None, 1)[0]}") <= width if following.strip() else True
        if short and (line.rstrip()[-1:] in _SENTENCE_ENDS or is_heading(line)):
            yield held
            held = []
    if held:
        yield held


def _is_wrapped(lines: list[str]) -> bool:
    """Lines of one paragraph end mid-sentence; lines that are paragraphs do not."""
    ends = [line.rstrip()[-1] for line in lines[:-1] if len(line.rstrip()) > 40]
    return sum(end not in _SENTENCE_ENDS for end in ends) * 2 > len(ends)


def _chunk(lines: list[str]) -> Iterator[tuple[BlockKind, str]]:
    """The blocks among lines that no empty line parts."""
    lines = [line for line in lines if line.strip()]
    if len(lines) == 2 and _RULE.fullmatch(lines[1]) and len(lines[0].split()) <= 20:
        yield BlockKind.HEADING, lines[0].strip()
        return
    apart = any(len(line) > WIDEST for line in lines)
    if len(lines) > 1 and not apart and _opens(lines):
        yield BlockKind.HEADING, lines[0].strip()
        lines = [line for line in lines[1:] if not _RULE.fullmatch(line)]
    marks = sum((ITEM.match(line) or _PARAGRAPH_NUMBER.match(line)) is not None for line in lines)
    kind, held = BlockKind.PARAGRAPH, ""
    for line in lines:
        if _RULE.fullmatch(line):
            begins, next_kind, line = True, BlockKind.PARAGRAPH, ""
        elif quote := _QUOTE.match(line):
            line = line[quote.end() :]
            begins, next_kind = kind is not BlockKind.QUOTE or not line.strip(), BlockKind.QUOTE
        elif _begins_block(line, held, kind, marks):
            begins = True
            next_kind, line = unmarked(line)
        else:
            begins, next_kind = apart or kind is BlockKind.QUOTE, BlockKind.PARAGRAPH
        if begins:
            if held:
                yield kind, held
            kind, held = next_kind, line.strip()
        else:
            held = _joined(held, line.strip())
    if held:
        yield kind, held


def _opens(lines: list[str]) -> bool:
    """Whether a heading is set right on its paragraph: a short unfinished line before one that begins a sentence."""
    if any(ITEM.match(line) or _QUOTE.match(line) for line in lines[:2]) or not is_heading(lines[0]):
        return False
    if _RULE.fullmatch(lines[1]):
        return True
    return len(lines[0]) < 0.6 * len(lines[1]) and lines[1].lstrip()[:1].isupper()


def _begins_block(line: str, before: str, kind: BlockKind, marks: int) -> bool:
    """Whether a line begins an item or a numbered paragraph; a wrapped line may begin with a dash or a number too."""
    if _PLAIN_BULLET.match(line):
        return True
    marked = ITEM.match(line) or _PARAGRAPH_NUMBER.match(line)
    return marked is not None and (not before or before[-1] in ".!?:;" or kind is BlockKind.ITEM or marks > 1)


def _joined(before: str, line: str) -> str:
    if len(before) > 1 and before[-1] == "-" and before[-2].isalpha() and line[:1].islower():
        return before + line
    return f"{before} {line}" if before else line

"""Markdown, by markdown-it-py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from labels.passages import BlockKind
from service.documents import html, text
from service.documents.document import Document, Draft
from service.documents.furniture import settle

_MARKS = re.compile(
    r"^#{1,6} +\S|\[[^\[\]\n]{1,300}\]\([^)\s]{1,300}\)|^(?:[-*+] |> )?\*\*[^*\n]{1,300}\*\*|^\S.{0,200}\n={3,}$", re.M
)
_FRONT = re.compile(r"\A---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_NOTE = re.compile(r"\[\^[^\]\s]{1,40}\]:?")
# What is longer, or ends like a sentence, is a paragraph that happens to stand on a line of dashes.
MOST_WORDS_OF_A_HEADING = 25


def looks_like(content: str) -> bool:
    """Whether a text has marks that only Markdown gives a meaning: headings, links, bold, front matter, underlines."""
    front = _FRONT.match(content)
    return bool(front and _front_matter(front[1])) or _MARKS.search(content[:50_000]) is not None


def read(content: str) -> Document:
    """Headings, paragraphs, items, quotations and tables; a YAML front matter may give title and date."""
    front = _FRONT.match(content)
    meta = _front_matter(front[1]) if front else {}
    body = content[front.end() :] if front and meta else content
    draft = Draft()
    for kind, block in settle(_blocks(body)):
        draft.add(kind, block)
    named = meta.get("title")
    title = named if isinstance(named, str) and named else draft.first(BlockKind.HEADING)
    published = _date(meta.get("date", meta.get("published")))
    return draft.finish("text/markdown", title=title, published=published)


def _blocks(body: str) -> Iterator[tuple[BlockKind, str]]:
    within: list[str] = []
    for token in MarkdownIt("commonmark").enable("table").parse(body):
        if token.nesting == 1:
            within.append(token.type)
        elif token.nesting == -1:
            within.pop()
        elif token.type == "html_block":
            yield from html.blocks(token.content)
        elif token.type == "code_block":  # indented text, in what people write
            yield from text.blocks(token.content)
        elif token.type == "inline":
            block = " ".join(_plain(token).split())
            if token.content.startswith("[^"):
                yield BlockKind.FURNITURE, block
            elif block:
                yield _kind(within, block, token)


def _front_matter(block: str) -> dict[str, object]:
    try:
        meta = yaml.safe_load(block)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _date(value: object) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, str):
        try:
            return date.fromisoformat(value[:10])
        except ValueError:
            return None
    return value if isinstance(value, date) else None


def _plain(token: Token) -> str:
    """The words of an inline token: without marks, targets of links, images, tags and notes."""
    parts = []
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak") or child.content.lower().startswith("<br"):
            parts.append(" ")
        elif child.type in ("text", "code_inline"):
            parts.append(child.content)
    return _NOTE.sub("", "".join(parts))


def _kind(within: list[str], block: str, token: Token) -> tuple[BlockKind, str]:
    if "heading_open" in within and not (block[-1] == "." or len(block.split()) > MOST_WORDS_OF_A_HEADING):
        return BlockKind.HEADING, block
    if "table_open" in within:
        return BlockKind.TABLE, block
    if "blockquote_open" in within:
        return BlockKind.QUOTE, block
    if "list_item_open" in within:
        return BlockKind.ITEM, text.unmarked(block)[1]
    if _is_bold(token) and len(block.split()) <= MOST_WORDS_OF_A_HEADING and block[-1] not in ".!?:":
        return BlockKind.HEADING, block
    return text.unmarked(block)


def _is_bold(token: Token) -> bool:
    children = [child for child in token.children or [] if child.content or child.nesting]
    return (
        len(children) > 2
        and children[0].type == "strong_open"
        and children[-1].type == "strong_close"
        and (sum(child.type == "strong_open" for child in children) == 1)
    )

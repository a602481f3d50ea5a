"""Markdown, by markdown-it-py."""

from __future__ import annotations

import re
from datetime import date

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from labels.passages import BlockKind
from service.documents.document import Document, Draft
from service.documents.furniture import is_furniture, is_heading

_MARKS = re.compile(r"^#{1,6} \S|\[[^\]\n]+\]\([^)\s]+\)|^\*\*[^*\n]+\*\*|^---\n.*?\n---\n|^(?:=|-){3,}$", re.M | re.S)
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.S)


def looks_like(content: str) -> bool:
    """Whether a text has marks that only Markdown gives a meaning: headings, links, bold, front matter, underlines."""
    return _MARKS.search(content[:50_000]) is not None


def read(content: str) -> Document:
    """Headings, paragraphs, items, quotations and tables; a YAML front matter may give title and date."""
    front = _FRONT.match(content)
    meta = _front_matter(front[1]) if front else {}
    draft = Draft()
    within: list[str] = []
    for token in MarkdownIt("commonmark").enable("table").parse(content[front.end() :] if front else content):
        if token.nesting == 1:
            within.append(token.type)
        elif token.nesting == -1:
            within.pop()
        elif token.type == "inline":
            block = _plain(token)
            draft.add(_kind(within, block), block)
    title, published = meta.get("title") or draft.first(BlockKind.HEADING), meta.get("date", meta.get("published"))
    return draft.finish(
        "text/markdown",
        title=str(title) if title else None,
        published=published if isinstance(published, date) else None,
    )


def _front_matter(block: str) -> dict[str, object]:
    try:
        meta = yaml.safe_load(block)
    except yaml.YAMLError:
        return {}
    return meta if isinstance(meta, dict) else {}


def _plain(token: Token) -> str:
    parts = {"softbreak": " ", "hardbreak": " "}
    return "".join(
        parts.get(child.type, child.content if child.type in ("text", "code_inline") else "")
        for child in token.children or []
    )


def _kind(within: list[str], block: str) -> BlockKind:
    if "heading_open" in within:
        return BlockKind.HEADING
    if "table_open" in within:
        return BlockKind.TABLE
    if is_furniture(block):
        return BlockKind.FURNITURE
    if "blockquote_open" in within:
        return BlockKind.QUOTE
    if "list_item_open" in within:
        return BlockKind.ITEM
    return BlockKind.HEADING if is_heading(block) else BlockKind.PARAGRAPH

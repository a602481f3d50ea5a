"""HTML, by trafilatura: the main text of a page, from the string alone. Nothing is fetched."""

from __future__ import annotations

import re
from datetime import date

import trafilatura
from lxml import etree

from labels.passages import BlockKind
from service.documents.document import Document, Draft
from service.documents.furniture import is_furniture
from service.errors import ErrorPage, NoText

_TAG = re.compile(r"<(?:!doctype\s+html|html|head|body|article|main|section|div|p|h[1-6]|ul|ol|table)\b[^>]*>", re.I)
_NOT_THERE = re.compile(
    r"(?:error )?40[134]\b|.{0,30}\b(?:not found|no longer (?:exists|available)|access denied|forbidden)\b", re.I
)
_KINDS = {
    "p": BlockKind.PARAGRAPH,
    "ab": BlockKind.PARAGRAPH,
    "item": BlockKind.ITEM,
    "quote": BlockKind.QUOTE,
    "head": BlockKind.HEADING,
    "fw": BlockKind.HEADING,
    "cell": BlockKind.TABLE,
}


def looks_like(content: str) -> bool:
    """Whether a text is a page or a fragment of one: it begins with a tag, or has a document's tags near its top."""
    start = content[:5_000].lstrip("\ufeff \t\n")
    return start.startswith("<") and _TAG.search(start) is not None


def read(content: str) -> Document:
    """Main text, title and date of a page.

    Raises NoText where trafilatura finds no main text, ErrorPage where the page is headed "not found" or the like.
    """
    page = (
        content if re.search(r"<body\b", content, re.I) else f"<html><body><article>{content}</article></body></html>"
    )
    found = trafilatura.bare_extraction(
        page, favor_recall=True, include_comments=False, include_tables=True, with_metadata=True, as_dict=False
    )
    if found is None or found.body is None:
        raise NoText("a web page without main text (an error page, a menu, a page that a script fills)")
    draft = Draft()
    _walk(found.body, draft)
    heading = draft.first(BlockKind.HEADING) or found.title or ""
    if _NOT_THERE.match(heading):
        raise ErrorPage(f"a web page headed {heading!r}, saved in place of a document")
    return draft.finish("text/html", title=found.title or None, published=_date(found.date))


def _walk(element: etree._Element, draft: Draft) -> None:
    """Innermost named blocks, in order; a quotation or item that holds paragraphs lends them its kind."""
    for child in element.iterchildren(etree.Element):
        kind = _KINDS.get(str(child.tag))
        inner = [c for c in child.iterdescendants() if str(c.tag) in _KINDS]
        if kind is None or inner:
            if (child.text or "").strip():
                _add(draft, kind or BlockKind.PARAGRAPH, child.text or "")
            _walk_inside(child, kind, draft)
        else:
            _add(draft, kind, "".join(child.itertext()))
        if (child.tail or "").strip():
            _add(draft, BlockKind.PARAGRAPH, child.tail or "")


def _walk_inside(element: etree._Element, outer: BlockKind | None, draft: Draft) -> None:
    if outer not in (BlockKind.QUOTE, BlockKind.ITEM):
        _walk(element, draft)
        return
    for child in element.iterchildren(etree.Element):
        kind = _KINDS.get(str(child.tag))
        if kind is BlockKind.PARAGRAPH:
            _add(draft, outer, "".join(child.itertext()))
        else:
            holder = etree.Element("body")
            holder.append(child)
            _walk(holder, draft)


def _add(draft: Draft, kind: BlockKind, text: str) -> None:
    text = " ".join(text.split())
    draft.add(BlockKind.FURNITURE if kind is not BlockKind.HEADING and is_furniture(text) else kind, text)


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None

"""HTML: trafilatura tells the main text of a page from the rest, and the page's own tags tell its blocks.

trafilatura is given the parsed string and fetches nothing. Its output serves as a sieve alone: as a text it loses
line breaks, joins short paragraphs and reorders; the page itself does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date

import trafilatura
from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from labels.passages import BlockKind
from service.documents.document import Document, Draft
from service.documents.furniture import is_furniture
from service.documents.text import parted
from service.errors import DamagedDocument, ErrorPage, NoText, TooLarge

MOST_ELEMENTS = 50_000
# A text of so many characters is not in the main text by chance.
TELLING = 40
# An error page says little else.
MOST_WORDS_OF_AN_ERROR = 200

_NAME = re.compile(r"[a-z][a-z0-9]*")
_TAG = re.compile(
    r"<(?:!doctype\s+html|html|head|body|article|main|section|div|span|p|h[1-6]|ul|ol|table|blockquote)\b[^<>]*>", re.I
)
_OPENING = re.compile(r"\s*<(?:[a-z!?])", re.I)
_NOT_THERE = re.compile(
    r"(?:error:? |http )?(?:40[0134]|410|429|50[0234])\b"
    r"|.{0,30}\b(?:(?:not|be|couldn[’']t|can[’']t|cannot)(?: be)? (?:found|find)\b.{0,12}"
    r"|no longer (?:exists|available)|does(?: not|n[’']t) exist|access denied|forbidden|service unavailable|bad gateway"
    r"|internal server error|problem with (?:the|this) service)"
    r"|just a moment\b|are you (?:a robot|human)\b",
    re.I,
)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "dt", "legend", "summary", "caption"})
_BLOCKS = _HEADINGS | frozenset(
    _NAME.findall(
        "address article blockquote body center dd details div dl fieldset figure footer form header hgroup hr html li"
        " main ol p pre section table tbody td tfoot th thead tr ul"
    )
)
_DROPPED = frozenset(
    _NAME.findall(
        "address aside audio button canvas dialog figcaption footer head iframe input label map math menu nav noscript"
        " object option script select style svg template textarea video"
    )
)
_ROLES = frozenset(_NAME.findall("alertdialog banner complementary contentinfo dialog menu navigation search"))
# Words in the class or id of what stands around a text.
_AROUND = frozenset(
    _NAME.findall(
        "advert advertisement breadcrumb breadcrumbs byline caption comments consent cookie cookies feedback newsletter"
        " pagination promo related share sharedaddy sharing sidebar skip"
    )
)
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_BREAK = "\v"
_NOTE = re.compile(r"\[?\d{1,3}\]?")


@dataclass(slots=True)
class _Run:
    """Text between two block tags: where it stands, and how much of it is bold or a link."""

    kind: BlockKind
    parent: HtmlElement
    pieces: list[str] = field(default_factory=list)
    letters: int = 0
    bold: int = 0
    linked: int = 0


@dataclass(slots=True)
class _Piece:
    kind: BlockKind
    parent: HtmlElement
    text: str
    linked: bool
    key: str


def looks_like(content: str) -> bool:
    """Whether a text is a page or a fragment of one: it begins with a tag, and has a document's tags near its top."""
    start = content[:5_000].lstrip("\ufeff")
    return _OPENING.match(start) is not None and _TAG.search(start) is not None


def read(content: str) -> Document:
    """Main text, title and date of a page.

    Raises NoText where trafilatura finds no main text, ErrorPage where the page is headed "not found" or the like,
    TooLarge where it has more than MOST_ELEMENTS elements, DamagedDocument where they nest beyond reason.
    """
    page = _parse(content)
    heading = " ".join(page.xpath("string((//h1)[1])").split()) or " ".join(page.xpath("string(//title)").split())
    _prune(page)
    found = trafilatura.bare_extraction(
        deepcopy(page),
        favor_recall=True,
        include_comments=False,
        include_tables=True,
        with_metadata=True,
        date_extraction_params={"extensive_search": False, "original_date": True},
    )
    assert not isinstance(found, dict)
    pieces = list(_main(list(_pieces(page)), found.body)) if found is not None and found.body is not None else []
    if _NOT_THERE.match(heading) and sum(len(piece.text.split()) for piece in pieces) < MOST_WORDS_OF_AN_ERROR:
        raise ErrorPage(f"a web page headed {heading!r}, saved in place of a document")
    if found is None or not pieces:
        raise NoText("a web page without main text (a menu, or a page that a script fills)")
    draft = Draft()
    for piece in pieces:
        draft.add(piece.kind, piece.text)
    return draft.finish("text/html", title=found.title or None, published=_date(found.date))


def blocks(content: str) -> Iterator[tuple[BlockKind, str]]:
    """All the blocks of a fragment, such as stands in Markdown."""
    try:
        page = _parse(content)
    except (NoText, DamagedDocument):
        return
    _prune(page)
    for piece in _pieces(page):
        yield piece.kind, piece.text


def _parse(content: str) -> HtmlElement:
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        page = document_fromstring(content.encode("utf-8", errors="replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise NoText("a web page without any text") from error
    if any("depth" in entry.message for entry in parser.error_log):
        raise DamagedDocument("a web page whose tags nest too deep to be read")
    count = sum(1 for _ in page.iter())
    if count > MOST_ELEMENTS:
        raise TooLarge(f"the web page has {count:,} elements; the limit is {MOST_ELEMENTS:,}")
    return page


def _prune(page: HtmlElement) -> None:
    """Take out what no reader takes for the text: menus, banners, captions, share links, what is not shown."""
    body = page.find("body")
    if body is None:
        return
    whole = len(_squash(_text(body)))
    for element in list(body.iter(etree.Element)):
        if _is_around(element) and 3 * len(_squash(_text(element))) < 2 * whole:
            element.drop_tree()


def _is_around(element: HtmlElement) -> bool:
    tag = element.tag
    if tag in _DROPPED or element.get("role") in _ROLES:
        return True
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    if tag == "sup":
        return _NOTE.fullmatch(_text(element).strip()) is not None
    if tag == "cite" and element.getparent() is not None and element.getparent().tag == "blockquote":
        return True
    if _INVISIBLE.search(element.get("style", "")):
        return True
    named = f"{element.get('class', '')} {element.get('id', '')}".lower()
    return not _AROUND.isdisjoint(_NAME.findall(named))


def _main(pieces: list[_Piece], body: etree._Element) -> Iterator[_Piece]:
    """The pieces that are in the main text, and those among them that share a parent with one."""
    lines = {_squash(_text(element)) for element in body.iter(etree.Element)}
    lines |= {_squash(str(text)) for text in body.itertext()}
    whole = _squash(_text(body))
    sure = [len(piece.key) >= TELLING and piece.key in whole for piece in pieces]
    told = [known or piece.key in lines for known, piece in zip(sure, pieces, strict=True)]
    if not any(sure):  # a page of a few words, which trafilatura gives as one line
        told = [piece.key in whole for piece in pieces]
    kept = [index for index, known in enumerate(told) if known]
    parents = {piece.parent for index, piece in enumerate(pieces) if sure[index]}
    for index in range(kept[0], kept[-1] + 1) if kept else ():
        piece = pieces[index]
        if piece.linked and len(piece.key) < TELLING and piece.kind is not BlockKind.HEADING:
            continue  # a line of nothing but links
        if told[index] or (piece.parent in parents and not piece.linked):
            yield piece


def _pieces(page: HtmlElement) -> Iterator[_Piece]:
    """The blocks of a page, in order."""
    body = page.find("body")
    if body is None:
        return
    for run in _runs(body):
        text = "".join(run.pieces)
        bold, linked = run.bold * 10 > run.letters * 9, run.linked * 10 > run.letters * 8
        for paragraph in parted(text, _BREAK):
            kind = run.kind
            if (
                kind is BlockKind.PARAGRAPH
                and bold
                and len(paragraph.split()) <= 20
                and paragraph[-1] not in ".!?”\"'’:"
            ):
                kind = BlockKind.HEADING
            elif kind is not BlockKind.HEADING and is_furniture(paragraph):
                kind = BlockKind.FURNITURE
            yield _Piece(kind, run.parent, paragraph, linked, _squash(paragraph))


def _runs(body: HtmlElement) -> Iterator[_Run]:
    """Text between block tags. The walk is no recursion: pages nest as deep as they like."""
    blocks: list[tuple[HtmlElement, BlockKind]] = []
    bold = linked = preformatted = 0
    run = _Run(BlockKind.PARAGRAPH, body)

    def take(text: str | None) -> None:
        if not text:
            return
        run.pieces.append(text.replace("\n", _BREAK) if preformatted else " ".join(f"|{text}|".split())[1:-1])
        letters = len(_squash(text))
        run.letters += letters
        run.bold += letters if bold else 0
        run.linked += letters if linked else 0

    for event, element in etree.iterwalk(body, events=("start", "end")):
        tag, step = element.tag, 1 if event == "start" else -1
        bold += step * (tag in ("b", "strong"))
        linked += step * (tag == "a")
        preformatted += step * (tag == "pre")
        if tag in _BLOCKS:
            yield run
            if event == "start":
                blocks.append((element, _kind(element, blocks[-1][1] if blocks else BlockKind.PARAGRAPH)))
            else:
                blocks.pop()
            holder, kind = blocks[-1] if blocks else (body, BlockKind.PARAGRAPH)
            run = _Run(kind, _container(holder))
        elif tag == "br" and event == "start":
            run.pieces.append(_BREAK)
        elif tag == "q":
            run.pieces.append("“" if event == "start" else "”")
        take(element.text if event == "start" else element.tail if element is not body else None)
    yield run


def _container(block: HtmlElement) -> HtmlElement:
    """What holds a paragraph, item or heading: its neighbours there are of the same text."""
    while block.tag in ("p", "li", "ul", "ol", "blockquote", "pre", "dd", "dl") or block.tag in _HEADINGS:
        parent = block.getparent()
        if parent is None or parent.tag == "html":
            break
        block = parent
    return block


def _kind(element: HtmlElement, outer: BlockKind) -> BlockKind:
    tag = element.tag
    if tag in _HEADINGS or outer is BlockKind.HEADING:
        return BlockKind.HEADING
    if tag == "table":
        return BlockKind.PARAGRAPH if _lays_out(element) else BlockKind.TABLE
    if outer is BlockKind.TABLE:
        return BlockKind.TABLE
    return {"li": BlockKind.ITEM, "blockquote": BlockKind.QUOTE}.get(tag, outer)


def _lays_out(table: HtmlElement) -> bool:
    """Whether a table is there to lay out a page: one column, or a cell that holds a table or paragraphs of prose."""
    if table.find(".//th") is not None:
        return False
    if all(len(row) <= 1 for row in table.iter("tr")):
        return True
    cells = (cell for cell in table.iter("td") if any(child.tag in _BLOCKS for child in cell))
    return any(len(cell.text_content().split()) > 60 or cell.find(".//table") is not None for cell in cells)


def _text(element: etree._Element) -> str:
    return "".join(map(str, element.itertext()))


def _squash(text: str) -> str:
    return "".join(re.findall(r"\w+", text)).casefold()


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None

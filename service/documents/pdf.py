"""PDF to a document, by the geometry of its lines: where they stand, how large, how heavy, how far apart.

Words come from pdfium with their boxes; words on one baseline make a line; lines make blocks. Nothing here knows a
publisher's template, except the two short lists of words in BOILERPLATE and SET_ASIDE.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from itertools import accumulate, pairwise

import pypdfium2 as pdfium
from pypdfium2 import raw

from labels.passages import BlockKind
from service.documents.document import Document, Draft
from service.documents.pdf_lines import NUMBER, Line, page_lines
from service.errors import DamagedDocument, EncryptedDocument, NoText, TooLarge

# pdfium is not safe to use from two threads at once.
_PDFIUM = threading.Lock()

MEDIA_TYPE = "application/pdf"

# Small print that publishers set in the type of the body. A block that opens so is furniture; on the last two pages,
# so is all that follows it.
BOILERPLATE = (
    "the office for standards in education, children",
    "if you would like a copy of this document in a different format",
    "you may reuse this information",
    "you may copy all or parts of this document",
    "this publication is available at",
    "this report is available at",
    "interested in our work?",
    "to receive regular email alerts",
    "any complaints about the inspection",
    "© crown copyright",
)
# Sections about the procedure: all under such a heading, up to the next heading as large, is furniture.
SET_ASIDE = (
    "information about this inspection",
    "what the inspection judgements mean",
    "grade descriptors",
    "the inspection team",
)

_HYPHENS = "\x02\ufffe\u00ad-\u2010"
_PAGE_NUMBER = re.compile(
    r"[-–—|\[(\s]*(?:page|p\.?)?\s*\d{1,4}(?:\s*(?:of|/)\s*\d{1,4})?(?:\s*\|?\s*page)?[-–—|\])\s]*", re.IGNORECASE
)
_PARTICULAR = re.compile(r"(?:[A-Z][\w’' ]{0,40}|[TEW]):\s*\S")
_LEADERS = re.compile(r"(?:\.\s?){5,}|…{2,}|_{5,}")
_DATE = r"(\d{1,2})(?:st|nd|rd|th)?\s+([A-Z][a-z]{2,8})\.?,?\s+(\d{4})"
_PUBLISHED = re.compile(
    rf"(?i:publi(?:shed|cation)(?:\s+(?:on|date))?)\W{{0,4}}{_DATE}|^(?:Date\W{{1,3}})?{_DATE}$", re.MULTILINE
)
# Parts of English words that keep their hyphen wherever the line breaks.
_PREFIX = re.compile("anti|co|cross|ex|half|high|inter|long|low|mid|multi|near|non|out|part|post|pre|re|self|semi|well")


@dataclass(slots=True)
class _Group:
    """Lines that make a block."""

    lines: list[Line]
    kind: BlockKind = BlockKind.PARAGRAPH
    text: str = ""

    @property
    def bulleted(self) -> bool:
        marker = self.lines[0].marker
        return marker is not None and not marker.text[-1].isdigit() and not NUMBER.fullmatch(marker.text)

    @property
    def size(self) -> float:
        return max(line.size for line in self.lines)

    @property
    def bold(self) -> bool:
        return all(line.bold for line in self.lines)


@dataclass(slots=True)
class _Layout:
    """What is usual in this document."""

    size: float
    leading: float
    words: Counter[str]
    # How many words cut at a line's end are known to be one word, less those known to have a hyphen.
    hyphenation: int


def read(data: bytes, max_pages: int | None = None) -> Document:
    """A PDF as a document.

    Raises EncryptedDocument, DamagedDocument, TooLarge (more than max_pages), or NoText where no page holds text (a
    scan).
    """
    if b"startxref" not in data[-4096:]:
        # pdfium would mend it silently, and leave out what is missing.
        raise DamagedDocument("The PDF is damaged or cut short: its end is missing.")
    with _PDFIUM:
        try:
            with closing(pdfium.PdfDocument(data)) as pdf:
                if max_pages is not None and len(pdf) > max_pages:
                    raise TooLarge(f"the PDF has {len(pdf):,} pages; the limit is {max_pages:,} (CANDOUR_MAX_PAGES)")
                pages = [page_lines(pdf, index) for index in range(len(pdf))]
                named = pdf.get_metadata_dict().get("Title", "")
        except pdfium.PdfiumError as error:
            if getattr(error, "err_code", None) in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
                raise EncryptedDocument("The PDF is encrypted and needs a password to open.") from error
            raise DamagedDocument("The PDF is damaged and cannot be read.") from error
    if not pages:
        raise DamagedDocument("The PDF is damaged: it has no pages.")
    _drop_running(pages)
    for page, _ in pages:
        page[:] = _in_order(page)
    lines = [line for page, _ in pages for line in page]
    if not any(character.isalpha() for line in lines for character in line.text):
        raise NoText("The PDF holds no text: it looks like a scan and needs OCR first.")
    layout = _layout(pages)
    for page, _ in pages:
        _mark(page, layout)
    groups = _group(lines, layout)
    for group in groups:
        group.text = _join(group.lines, layout)
    _classify(groups, layout, len(pages))
    draft = Draft()
    for group in groups:
        draft.add(group.kind, group.text, group.lines[0].page, _turns(group.lines, layout))
    first = [group for group in groups if group.lines[0].page == 1]
    return draft.finish(MEDIA_TYPE, title=_title(named, first, layout), published=_published(groups), pages=len(pages))


# --- Words and lines


# --- What is usual, and what is not part of the flow


def _drop_running(pages: list[tuple[list[Line], float]]) -> None:
    """Take off heads and feet: lines in the margins that come back on another page, and bare page numbers."""

    def sign(line: Line) -> tuple[str, int]:
        return re.sub(r"^\d{1,3}\s+|\s+\d{1,3}$", "", line.text).casefold(), round(line.y / 4)

    def margin(line: Line, height: float) -> bool:
        return line.y < 0.1 * height or line.y > 0.9 * height

    seen: Counter[tuple[str, int]] = Counter()
    for lines, height in pages:
        seen.update({sign(line) for line in lines if margin(line, height)})
    for lines, height in pages:
        lines[:] = [
            line
            for line in lines
            if not margin(line, height)
            or (seen[sign(line)] < 2 and not (_PAGE_NUMBER.fullmatch(line.text) and _outermost(line, lines)))
        ]


def _in_order(lines: list[Line]) -> list[Line]:
    """The order of writing, save that lines written last and standing above all the others come first."""
    highest = list(accumulate((line.y for line in lines), max))
    lowest = list(accumulate((line.y for line in reversed(lines)), min))[::-1]
    cut = next((cut for cut in range(1, len(lines)) if lowest[cut] > highest[cut - 1]), 0)
    return lines[cut:] + lines[:cut]


def _outermost(line: Line, lines: list[Line]) -> bool:
    others = [other.y for other in lines if abs(other.y - line.y) > 1]
    return not others or line.y < min(others) + 30 or line.y > max(others) - 30


def _layout(pages: list[tuple[list[Line], float]]) -> _Layout:
    sizes: Counter[float] = Counter()
    steps: Counter[float] = Counter()
    words: Counter[str] = Counter()
    for lines, _ in pages:
        for line in lines:
            for word in line.words:
                sizes[round(word.size * 2) / 2] += len(word.text)
            # The last word may be half a word.
            words.update(word.text.strip(".,;:()‘’“”'\"?!").casefold() for word in line.words[:-1])
    size = sizes.most_common(1)[0][0] or 1.0
    for lines, _ in pages:
        for above, below in pairwise(lines):
            step = above.y - below.y
            if abs(above.size - size) < 0.5 and abs(below.size - size) < 0.5 and 0.8 * size < step < 2.5 * size:
                steps[round(step * 2) / 2] += 1
    leading = steps.most_common(1)[0][0] if steps else 1.2 * size
    cuts = (
        _broken(above.words[-1].text[:-1], below.words[0].text, words)
        for lines, _ in pages
        for above, below in pairwise(lines)
        if above.words[-1].text[-1] in _HYPHENS
    )
    return _Layout(size, leading, words, sum((cut > 0) - (cut < 0) for cut in cuts))


def _mark(lines: list[Line], layout: _Layout) -> None:
    """Mark the lines of a page that are small print, or cells of a table; note how far right each could reach."""
    foot = False
    left = min((line.x0 for line in lines), default=0.0)
    reach: defaultdict[int, float] = defaultdict(float)
    for line in lines:
        column = round(line.text_x / layout.size / 3)
        reach[column] = max(reach[column], line.x1)
    for line in lines:
        line.left = left
        # The margin of its column: lines that begin at about the same place.
        line.right = max(reach[round(line.text_x / layout.size / 3) + side] for side in (-1, 0, 1))
        foot = foot or line.noted
        line.small = foot or line.size < 0.88 * layout.size
        line.tabular = bool(_LEADERS.search(line.text)) or any(
            right.x0 - left.x1 > 2 * line.size for left, right in pairwise(line.words)
        )
    for index, line in enumerate(lines[1:], 1):
        rise = line.y - lines[index - 1].y
        if -0.2 * layout.size < rise < 6 * layout.leading and line.x0 > lines[index - 1].x0 + layout.size:
            line.tabular = True
            for other in reversed(lines[:index]):
                if other.y > line.y + 0.6 * layout.leading or other.small:
                    break
                other.tabular = True
        # The next line of a cell that is not the first of its row.
        last = lines[index - 1]
        if last.tabular and 0 < -rise < 1.5 * layout.leading and line.x0 > last.left + 6 * layout.size:
            line.tabular = True
    # Short lines between two rows belong to the table.
    rows = [index for index, line in enumerate(lines) if line.tabular]
    for above, below in pairwise(rows):
        between = lines[above + 1 : below]
        if len(between) <= 3 and not any(line.ends or line.small or len(line.words) > 11 for line in between):
            for line in between:
                line.tabular = True


# --- Blocks


def _group(lines: list[Line], layout: _Layout) -> list[_Group]:
    groups: list[_Group] = []
    flow: _Group | None = None
    aside: _Group | None = None
    for line in lines:
        if line.small or line.tabular:
            kind = BlockKind.FURNITURE if line.small else BlockKind.TABLE
            near = aside and aside.kind is kind and aside.lines[-1].page == line.page and not line.noted
            if aside and near and (line.tabular or aside.lines[-1].y - line.y < 1.6 * line.size):
                aside.lines.append(line)
                continue
            aside = _Group([line], kind)
            groups.append(aside)
            if line.tabular and not line.small:
                flow = None
        elif flow and not _begins(line, flow, layout):
            flow.lines.append(line)
        else:
            flow = _Group([line])
            aside = None
            groups.append(flow)
    return groups


def _begins(line: Line, group: _Group, layout: _Layout) -> bool:
    """Whether a line begins a block, rather than going on with the one above or on the page before."""
    last = group.lines[-1]
    lower = line.text[0].islower()
    em = layout.size
    step = last.y - line.y
    turned = line.page != last.page or step < -layout.leading
    if line.marker:
        # A number that only happens to open a line: "by the age of / 25. Few".
        inside = NUMBER.fullmatch(line.marker.text) and not last.ends and abs(line.x0 - last.text_x) < em
        if (
            not inside
            or (group.lines[0] is last and last.marker is None)
            or (not turned and step > 1.3 * layout.leading)
        ):
            return True
        line.words.insert(0, line.marker)
        line.marker = None
        return False
    if abs(line.size - last.size) > 0.08 * layout.size:
        return True
    if last.bold != line.bold and group.bold != line.bold and not (lower and not last.ends):
        return True
    fits = last.x1 + 0.3 * em + (line.words[0].x1 - line.words[0].x0) < last.right - 0.5 * em
    hanging = group.lines[0].marker is not None and group.lines[0].text_x - group.lines[0].x0 > 0.5 * em
    aligned = abs(line.x0 - group.lines[0].text_x) < em or abs(line.x0 - last.text_x) < em
    if turned:
        if group.size > 1.1 * layout.size or group.bold:
            return True
        if not last.ends:
            return not (aligned or lower)
        return not (aligned and (hanging or not fits))
    if step > 1.3 * layout.leading * max(1.0, line.size / layout.size):
        return True
    if last.ends and fits:
        return True
    if len(group.lines) > 1 or hanging:
        return abs(line.x0 - last.text_x) > 1.2 * em and last.ends
    return False


def _join(lines: list[Line], layout: _Layout) -> str:
    """The text of the lines, one space between two; a word that was cut at a line's end made whole."""
    text = ""
    for line in lines:
        words = [_plain(word.text) for word in line.words[:-1]] + [line.words[-1].text]
        following = " ".join(words)
        if text and text[-1] in _HYPHENS and len(text) > 1 and text[-2].isalnum():
            if following.split(" ")[0] in {"and", "or", "to"}:
                text = f"{text} {following}"
                continue
            head, tail = re.split(r"[\s(‘“]", text[:-1])[-1], following.split(" ")[0]
            text = text[:-1] + _hyphen(head, tail, layout) + following
        else:
            text = f"{text} {following}" if text else following
    return re.sub(r" (?=[,.;)]( |$))", "", _plain(text)).strip()


def _turns(lines: list[Line], layout: _Layout) -> list[tuple[int, int]]:
    """Where the joined lines go on to another page: the character, and the page."""
    return [
        (len(_join(lines[:index], layout)), line.page)
        for index, line in enumerate(lines)
        if index and line.page != lines[index - 1].page
    ]


def _plain(text: str) -> str:
    return text.replace("\u00ad", "").replace("\x02", "-").replace("\ufffe", "-")


def _hyphen(head: str, tail: str, layout: _Layout) -> str:
    """A hyphen or nothing: as the document writes the word elsewhere, or else as it seems to break its words."""
    head = head.casefold()
    habit = _broken(head, tail, layout.words) or layout.hyphenation
    if habit:
        return "" if habit > 0 else "-"
    return "-" if _PREFIX.fullmatch(head) or layout.words[head] or not head.isalpha() else ""


def _broken(head: str, tail: str, words: Counter[str]) -> int:
    """Above nought where the document writes the two parts as one word, below where with a hyphen."""
    head, tail = head.casefold(), re.sub(r"\W+$", "", tail).casefold()
    return words[head + tail] - words[f"{head}-{tail}"]


# --- What the blocks are


def _classify(groups: list[_Group], layout: _Layout, pages: int) -> None:
    aside = 0.0
    closing_part = False
    for index, group in enumerate(groups):
        if group.kind is not BlockKind.PARAGRAPH:
            continue
        opening = group.text.casefold()
        if opening.startswith(BOILERPLATE):
            group.kind = BlockKind.FURNITURE
            closing_part = closing_part or group.lines[0].page > pages - 2
        elif closing_part:
            group.kind = BlockKind.FURNITURE
        elif _heading(group, groups[index + 1] if index + 1 < len(groups) else None, layout):
            group.kind = BlockKind.HEADING
            if opening.startswith(SET_ASIDE):
                aside = max(aside, group.size)
            elif group.size > aside - 0.5:
                aside = 0.0
        elif aside or (group.lines[0].page == 1 and not group.bulleted and _particular(group)):
            group.kind = BlockKind.FURNITURE
        elif group.bulleted:
            group.kind = BlockKind.ITEM


def _particular(group: _Group) -> bool:
    """'Inspection dates: 1 to 5 May': a label and its value on the first page."""
    return len(group.lines) < 3 and bool(_PARTICULAR.match(group.text)) and not group.lines[-1].ends


def _heading(group: _Group, following: _Group | None, layout: _Layout) -> bool:
    words = len(group.text.split())
    if words > 30 or group.bulleted:
        return False
    if group.lines[0].page == 1 and _particular(group):
        return False
    ends = group.lines[-1].ends and not group.text.endswith("?")
    larger = group.size > 1.1 * layout.size
    if larger or group.bold:
        return (larger and group.bold) or not ends or words < 6
    if group.lines[0].marker or ends or group.text[-1] in ",;" or len(group.lines) > 1 or words > 12:
        return False
    return (words < 4 or not group.text[0].islower()) and not (following and following.text[:1].islower())


def _title(named: str, first: list[_Group], layout: _Layout) -> str | None:
    """The title in the metadata where the first page bears it out, otherwise the largest heading of that page."""
    shown = " ".join(group.text for group in first).casefold()
    named = " ".join(named.split())
    if len(named.split()) > 1 and named.casefold() in shown:
        return named
    headings = [index for index, group in enumerate(first) if group.kind is BlockKind.HEADING]
    if not headings:
        return None
    largest = max(headings, key=lambda index: first[index].size)
    if first[largest].size < 1.1 * layout.size:
        largest = headings[0]
    title, below = first[largest], first[largest + 1 : largest + 3]
    # A short title, the name of a place, takes its subtitle with it: a heading with no paragraph right below it.
    subtitled = len(below) == 2 and below[0].kind is BlockKind.HEADING and below[1].kind is not BlockKind.PARAGRAPH
    if len(title.text.split()) < 7 and subtitled:
        return f"{title.text}: {below[0].text}"
    return title.text


def _published(groups: list[_Group]) -> date | None:
    front = "\n".join(group.text for group in groups if group.lines[0].page <= 2)
    for match in _PUBLISHED.finditer(front):
        day, month, year = (part for part in match.groups() if part)
        for form in ("%d %B %Y", "%d %b %Y"):
            try:
                return datetime.strptime(f"{day} {month} {year}", form).date()
            except ValueError:
                continue
    return None

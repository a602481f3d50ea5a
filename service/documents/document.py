"""What every format is read into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

from labels.passages import Block, BlockKind, Passage, segment


@dataclass(frozen=True)
class Document:
    """A document as read. text holds every block, in reading order, with an empty line between two.

    media_type: of the content, whatever the file was called. pages: their number, None where the format has none.
    """

    media_type: str
    text: str
    blocks: tuple[Block, ...]
    title: str | None = None
    published: date | None = None
    pages: int | None = None

    @cached_property
    def passages(self) -> list[Passage]:
        return segment(self.text, self.blocks)


@dataclass
class Draft:
    """Collects the blocks of a document while it is read."""

    _texts: list[str] = field(default_factory=list)
    _blocks: list[Block] = field(default_factory=list)
    _length: int = 0

    def add(self, kind: BlockKind, text: str, page: int | None = None, turns: Iterable[tuple[int, int]] = ()) -> None:
        """Append a block. Text that is only white space is left out.

        turns: where the block goes on to another page, as (character of the block, page).
        """
        text = text.strip()
        if not text:
            return
        start = self._length + (2 if self._texts else 0)
        self._texts.append(text)
        turned = tuple((start + offset, next_page) for offset, next_page in turns)
        self._blocks.append(Block(kind, start, start + len(text), page, turned))
        self._length = start + len(text)

    def first(self, kind: BlockKind) -> str | None:
        """The text of the first block of a kind; None where there is none."""
        return next((text for text, block in zip(self._texts, self._blocks, strict=True) if block.kind is kind), None)

    def finish(
        self,
        media_type: str,
        *,
        title: str | None = None,
        published: date | None = None,
        pages: int | None = None,
    ) -> Document:
        return Document(media_type, "\n\n".join(self._texts), tuple(self._blocks), title, published, pages)

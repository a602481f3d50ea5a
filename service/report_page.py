"""The figures of a collection as a page to look at, or as a mail."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urldefrag, urlsplit

from labels.taxonomy import Taxonomy
from service.figures import ENOUGH, NONE, SHARPEST, Count, Figures
from service.pages import ENVIRONMENT
from service.report import ScoredPassage
from service.results import Head

# Groups that a chart or a mail shows, and documents and failures that are listed; the page's tables have all groups.
GROUPS = 12
LISTED = 30
# Words at either end of a passage by which a browser finds it in a page.
ENDS = 6
NOT_FOR = (
    "Deciding anything about a child, a family or a worker.",
    "Saying that a council is honest or evasive, good or bad. "
    "A label marks what a passage does, not whether it is true.",
    "Publishing a label, a count or a ranking whose passages nobody has read.",
    "Texts about other services or countries, or in other languages.",
)


def html(figures: Figures, taxonomy: Taxonomy, sources: Sequence[Path], made: datetime) -> str:
    """One self-contained page: no script, and nothing that is fetched. Needs the extra `report`."""
    from service import charts

    titles = _titles(figures, taxonomy)
    drawn = {
        "matrix": charts.matrix(figures, titles),
        "time": charts.over_time(figures, titles) if figures.first else None,
        "council": charts.groups(_named(figures.councils), "council", figures, titles),
        "kind": charts.groups(_named(figures.kinds), "kind", figures, titles),
    }
    return _rendered("report.html.jinja", figures, titles, sources, made, charts=drawn)


def markdown(figures: Figures, taxonomy: Taxonomy, sources: Sequence[Path], made: datetime) -> str:
    """The same in short, as Markdown that can be read as it is."""
    return _rendered("report.md.jinja", figures, _titles(figures, taxonomy), sources, made)


def _rendered(
    template: str, figures: Figures, titles: Mapping[str, str], sources: Sequence[Path], made: datetime, **more: Any
) -> str:
    def labels(passage: ScoredPassage) -> list[str]:
        keys = [f"stance/{stance}" for stance in passage.stances] + [f"theme/{theme}" for theme in passage.themes]
        return [titles[key] for key in keys]

    new = {head.sha256 for head in figures.change.new} if figures.change else set()
    return ENVIRONMENT.get_template(template).render(
        figures=figures, titles=titles, sources=sources, made=made, NONE=NONE, ENOUGH=ENOUGH, GROUPS=GROUPS,
        LISTED=LISTED, SHARPEST=SHARPEST, NOT_FOR=NOT_FOR, day=day, labels=labels,
        link=link, marked=marked, moved=moved, name=name, new=new, number=number, place=place, share=share, **more,
    )  # fmt: skip


def _titles(figures: Figures, taxonomy: Taxonomy) -> dict[str, str]:
    """What each label is called on the page, by its key; `none`, too."""
    known = {label.key: label.title for label in taxonomy.labels}
    keys = [f"theme/{theme}" for theme in figures.themes] + [f"stance/{stance}" for stance in figures.stances]
    return {key: known.get(key, name(key.partition("/")[2])) for key in keys} | {
        f"theme/{NONE}": "No theme",
        f"stance/{NONE}": "No stance",
    }


def _named(groups: Mapping[str | None, Count]) -> dict[str, Count]:
    return {name(group): count for group, count in list(groups.items())[:GROUPS]}


def name(group: str | None) -> str:
    """A council, kind or label as a person reads it."""
    return "not stated" if group is None else group.replace("_", " ")


def day(when: date) -> str:
    return f"{when.day} {when:%B %Y}"


def number(count: int, noun: str) -> str:
    """Such as `1 passage` and `2,000 passages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def share(count: int, total: int) -> str:
    """A count, and its share of a total of at least ENOUGH."""
    return f"{count:,} ({count / total:.0%})" if total >= ENOUGH else f"{count:,}"


def moved(before: int, before_total: int, now: int, now_total: int) -> str:
    """By how many percentage points a share moved; a dash where either total is under ENOUGH."""
    if min(before_total, now_total) < ENOUGH:
        return "–"
    return f"{100 * (now / now_total - before / before_total):+.1f}"


def link(document: Head) -> str | None:
    """The document's address, where it is one of the web's."""
    try:
        parts = urlsplit((document.url or "").strip())
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    return quote(parts.geturl(), safe=":/?#[]@!$&'()*+,;=%~")


def place(document: Head, passage: ScoredPassage) -> str | None:
    """The address of a passage: the page of a PDF, the words of a web page. None where the document has none."""
    address = link(document)
    if address is None:
        return None
    if passage.page is not None:
        return f"{urldefrag(address).url}#page={passage.page}"
    words = passage.text.split()
    ends = [words] if len(words) <= 2 * ENDS else [words[:ENDS], words[-ENDS:]]
    found = ",".join(_fragment(" ".join(end)) for end in ends)
    return f"{address}{'' if '#' in address else '#'}:~:text={found}"


def _fragment(text: str) -> str:
    return quote(text, safe="").replace("-", "%2D")  # a dash beside a comma would mean what stands before or after


def marked(text: str) -> str:
    """A text on one line of Markdown that means itself: no emphasis, link, heading, table or HTML."""
    line = re.sub(r"([\\`*_\[\]<>|~]|&(?=#?\w+;))", r"\\\1", " ".join(text.split()))
    return re.sub(r"^(?=[#+=-])|^(\d+)(?=[.)])", r"\1\\", line)

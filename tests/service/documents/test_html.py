"""Pages as councils, papers and blogs make them. All words are invented."""

from __future__ import annotations

from datetime import date

import pytest

from labels.passages import BlockKind
from service.documents.document import Document
from service.documents.html import looks_like, read
from service.errors import ErrorPage, NoText

LONG = (
    "Inspectors spent two weeks in Sallowby this spring and spoke to more than sixty children, their parents and "
    "carers, and to the social workers who visit them. Their report was published this morning."
)
SECOND = (
    "The report says that visits to children in need are often late, and that plans made for them are seldom "
    "looked at again once the first meeting is over. Managers do not always know."
)
THIRD = (
    "A spokesperson for the council said that the work to mend this had begun last autumn, with twelve more social "
    "workers and a new manager for each of the four area teams."
)
SHORT = "We are sorry."
QUOTE = "“No child should have to wait so long for a visit, and I will not rest until none does,” said Cllr Orla Penn."


def texts(document: Document, *kinds: BlockKind) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks if block.kind in kinds]


def passages(document: Document) -> list[str]:
    return [passage.text for passage in document.passages]


COUNCIL = f"""<!DOCTYPE html><html lang="en"><head><title>Inspection report published | Sallowby Council</title>
<meta property="article:published_time" content="2031-05-06T09:30:00Z"></head><body class="node-news">
<div id="cookie-banner" role="dialog"><p>We use cookies to make this site work. Some are essential, and others help us
to learn how people use the site.</p><button>Accept all</button></div>
<a class="skip" href="#main">Skip to main content</a>
<header class="site-header"><nav><ul><li><a href="/bins">Bins and recycling</a></li><li><a href="/tax">Council Tax
</a></li><li><a href="/care">Children and families</a></li></ul></nav>
<form><label>Search</label><input></form></header>
<div class="breadcrumb"><a href="/">Home</a> &gt; <a href="/news">News</a> &gt; Inspection report published</div>
<main id="main"><h1>Inspection report published</h1><p class="date">Published: 6 May 2031</p>
<p>{LONG}</p><p>{SECOND}</p><p>{SHORT}</p>
<h2>What happens next</h2><p>The council will:</p>
<ul><li>visit every child on a plan within ten days</li><li>look again at <a href="/x">each plan</a></li></ul>
<p>{THIRD}</p></main>
<aside><h2>Related news</h2><ul><li><a href="/a">Library opens its doors on Sundays from June</a></li></ul></aside>
<footer><p>© Sallowby Council 2031</p><ul><li><a href="/privacy">Privacy</a></li></ul>
<p>Town Hall, Mill Lane, Sallowby. Open from Monday to Friday, 9am to 5pm. Call 01632 960000.</p></footer>
</body></html>"""
COUNCIL_PASSAGES = [
    LONG,
    SECOND,
    SHORT,
    "visit every child on a plan within ten days",
    "look again at each plan",
    THIRD,
]

PAPER = f"""<html><head><title>Children 'left waiting' - Sallowby Courier</title></head><body>
<div class="top-bar"><a href="/">Courier</a> <a href="/sport">Sport</a> <a href="/whats-on">What's on</a></div>
<article><h1>Children 'left waiting' for visits</h1><p class="byline">By Tamsin Quell, Local Democracy Reporter</p>
<time datetime="2031-05-06">6 May 2031, 11:20</time>
<div class="share"><a href="#">Share on Facebook</a><a href="#">Share on X</a><span>Copy link</span></div>
<figure><img src="x.jpg" alt=""><figcaption>The town hall in Sallowby, where councillors met on Monday to hear of it
(Image: Courier)</figcaption></figure>
<p>{LONG}</p><div class="advert"><p>Advertisement</p></div><p>{SECOND}</p>
<p><strong>READ MORE: <a href="/b">Market square to close for a month</a></strong></p>
<blockquote><p>{QUOTE}</p></blockquote><p>{THIRD}</p>
<p>{SHORT}</p></article>
<section class="related-stories"><h3>Most read</h3><div class="card"><a href="/1"><h4>Bakery wins a prize for its pies
</h4></a><p>The judges said that they had never tasted anything quite so good in all the years they
had done it.</p></div>
<div class="card"><a href="/2"><h4>Cat found on the roof of the church</h4></a><p>It took four hours and a tin of tuna
before the animal came down again to the cheers of a crowd.</p></div></section>
<section id="comments"><p>Bob: they should all go, every one of them, and soon, if you ask me, which
nobody does.</p></section>
</body></html>"""

BREAKS = f"""<html><body><div id="content"><h1>Statement</h1><div class="text">{LONG}<br><br>{SECOND}<br/>
<br/>{SHORT}<br><br>{THIRD}</div></div></body></html>"""

DIVS = f"""<html><body><div class="wrap"><div class="ttl"><b>Statement on the inspection</b></div>
<div>{LONG}</div><div>{SECOND}</div><div>{SHORT}</div><div>{THIRD}</div></div></body></html>"""

NESTED = f"""<html><body><article><h1>Plan</h1><p>{LONG}</p><ul><li>Visits<ul><li>Every child is to be seen alone,
 once a week.</li><li>No visit is to be put off.</li></ul></li><li><p>Plans are to be read by a manager.</p>
<p>They are to be dated.</p></li></ul><ol><li>Training for <em>every</em> new worker, and for <a href="#">those</a>
 who ask.</li></ol><p>{SECOND}</p></article></body></html>"""

INLINE = f"""<html><body><article><p>The <strong>council</strong> said it was <em>very</em> sorry, and that
 <a href="/r">the report</a>, read with<sup>1</sup> care, was <span>right</span>.</p><p>{LONG}</p>
<p>{SECOND}</p></article></body></html>"""

REPEATED = f"""<html><body><article><p>{LONG}</p><blockquote>{QUOTE}</blockquote><p>{SECOND}</p><blockquote>{QUOTE}
</blockquote><p>{THIRD}</p></article></body></html>"""

TABLE = f"""<html><body><main><h1>Report</h1><p>{LONG}</p><table><tr><th>Judgement</th><th>Grade</th></tr>
<tr><td>Overall</td><td>Requires improvement</td></tr></table><p>{SECOND}</p></main></body></html>"""

LAYOUT = f"""<html><body><table width="600"><tr><td><img src="logo.gif"></td></tr><tr><td><p>{LONG}</p><p>{SECOND}</p>
<p>{SHORT}</p><p>{THIRD}</p></td></tr></table></body></html>"""

WORDPRESS = f"""<html><head><title>A blog</title></head><body><div id="page"><div id="primary" class="content-area">
<article class="post"><header class="entry-header"><h1 class="entry-title">Late again</h1><div class="entry-meta">Posted
on
<a href="/d">May 6, 2031</a> by <a href="/author/tq">Tamsin Quell</a></div></header><div class="entry-content">
<p>{LONG}</p>
<p>Enough.</p><blockquote class="wp-block-quote"><p>{QUOTE}</p><cite>Orla Penn</cite></blockquote><p>{SECOND}</p>
<div class="sharedaddy"><h3>Share this:</h3><ul><li><a href="#">Email</a></li></ul></div></div>
<footer class="entry-footer">Filed under: <a href="/t">Care</a></footer></article>
<div id="comments" class="comments-area"><ol><li><p>I could not agree more with what you say here, thank
you.</p></li></ol>
</div></div><div id="secondary" class="widget-area"><section class="widget"><h2>Recent posts</h2><ul>
<li><a href="/q">On the closing of the swimming pool</a></li></ul></section></div></div></body></html>"""

UMBRACO = f"""<html><body><div class="container"><div class="row"><div class="col-8"><h1 class="page-title">Council
responds</h1><div class="rte"><p>{SHORT}</p>
<p>{LONG}</p><h3>Leader’s words</h3><p>&nbsp;</p><p>{QUOTE}</p>
<p><strong>Cllr Penn added:</strong> “It ends here.”</p><p>{THIRD}</p></div>
<div class="share-links"><p>Share this page</p></div>
<p>Was this page useful?</p><a href="#">Yes</a> <a href="#">No</a></div>
<div class="col-4"><div class="sidebar-menu"><ul><li><a href="/1">News 2031</a></li><li><a href="/2">News 2030</a></li>
<li><a href="/3">Sign up for news</a></li></ul></div></div></div></div></body></html>"""

FRAGMENT = f"<h2>Statement</h2><p>{LONG}</p><p>{SHORT}</p>"

TINY = f"<html><body><h1>Statement</h1><p>{SHORT}</p><p>Visits were late.</p></body></html>"

SECTIONS = f"""<html><body><div class="layout"><section><h2>Summary</h2><p>{LONG}</p></section>
<section><h2>Findings</h2>
<p>{SECOND}</p><dl><dt>Visits</dt><dd>They were late in every one of the cases that were read.</dd></dl></section>
<section><h2>Response</h2><p>{THIRD}</p><p>{SHORT}</p></section></div></body></html>"""

CASES = {
    "a council's page": (COUNCIL, COUNCIL_PASSAGES),
    "a newspaper": (PAPER, [LONG, SECOND, QUOTE, THIRD, SHORT]),
    "paragraphs parted by line breaks": (BREAKS, [LONG, SECOND, SHORT, THIRD]),
    "paragraphs in div": (DIVS, [LONG, SECOND, SHORT, THIRD]),
    "nested lists": (
        NESTED,
        [
            LONG,
            "Visits",
            "Every child is to be seen alone, once a week.",
            "No visit is to be put off.",
            "Plans are to be read by a manager.",
            "They are to be dated.",
            "Training for every new worker, and for those who ask.",
            SECOND,
        ],
    ),
    "inline markup": (
        INLINE,
        [
            "The council said it was very sorry, and that the report, read with care, was right.",
            LONG,
            SECOND,
        ],
    ),
    "a quote said twice": (REPEATED, [LONG, QUOTE, SECOND, QUOTE, THIRD]),
    "a table of data": (TABLE, [LONG, SECOND]),
    "a table that lays out the page": (LAYOUT, [LONG, SECOND, SHORT, THIRD]),
    "a blog": (WORDPRESS, [LONG, "Enough.", QUOTE, SECOND]),
    "a page without semantic tags": (
        UMBRACO,
        [SHORT, LONG, QUOTE, "Cllr Penn added: “It ends here.”", THIRD],
    ),
    "a fragment": (FRAGMENT, [LONG, SHORT]),
    "a page of a few words": (TINY, [SHORT, "Visits were late."]),
    "sections": (
        SECTIONS,
        [LONG, SECOND, "They were late in every one of the cases that were read.", THIRD, SHORT],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_passages_of_a_page_are_its_own_words_and_all_of_them(name: str) -> None:
    page, expected = CASES[name]
    document = read(page)
    assert passages(document) == expected
    assert all(document.text[passage.start : passage.end] == passage.text for passage in document.passages)


def test_title_date_and_kinds() -> None:
    document = read(COUNCIL.replace("2031", "2021"))
    assert document.title == "Inspection report published"
    assert document.published == date(2021, 5, 6)
    assert texts(document, BlockKind.HEADING) == ["Inspection report published", "What happens next"]
    assert texts(document, BlockKind.ITEM) == COUNCIL_PASSAGES[3:5]
    assert texts(read(PAPER), BlockKind.QUOTE) == [QUOTE]
    assert texts(read(TABLE), BlockKind.TABLE) == ["Judgement", "Grade", "Overall", "Requires improvement"]


@pytest.mark.parametrize("name", CASES)
def test_no_menu_caption_or_byline_is_in_the_text(name: str) -> None:
    text = read(CASES[name][0]).text
    for words in (
        "cookies",
        "Council Tax",
        "Library",
        "Image: Courier",
        "Bakery",
        "Bob:",
        "agree more",
        "swimming",
        "Privacy",
    ):
        assert words not in text


@pytest.mark.parametrize(
    "around",
    [
        '<div class="childrens-social-care">{}</div>',
        '<form id="aspnetForm">{}</form>',
        '<div class="has-sidebar">{}</div>',
        "<div><div><div><section>{}</section></div></div></div>",
        '<table role="presentation"><tr><td>{}</td></tr></table>',
        "<font>{}",
    ],
)
def test_what_stands_around_a_text_does_not_lose_it(around: str) -> None:
    inner = f"<h1>Visits</h1><p>{LONG}</p><p>{SHORT}</p><p>{SECOND}</p>"
    assert passages(read(f"<html><body>{around.format(inner)}</body></html>")) == [LONG, SHORT, SECOND]


def test_breaks_in_a_paragraph() -> None:
    page = f"<p>{LONG}<br>{SHORT}</p><p>They said that<br>it was late.</p><pre>{SECOND}\n\n{THIRD}</pre>"
    assert passages(read(page)) == [LONG, SHORT, "They said that it was late.", SECOND, THIRD]


def test_a_short_quotation_within_a_paragraph_keeps_its_marks() -> None:
    page = f"<article><p>{LONG}</p><p>He called it <q>a mess</q>, and left.</p></article>"
    assert passages(read(page)) == [LONG, "He called it “a mess”, and left."]


def test_what_looks_like_a_page() -> None:
    assert looks_like("<!DOCTYPE html><html>")
    assert looks_like("\ufeff\n <p class='a'>Sorry.</p>")
    assert not looks_like("<3 was all she wrote")
    assert not looks_like("Sorry <p>")
    assert not looks_like('<?xml version="1.0"?><rss><item>')


def test_error_pages_and_empty_ones() -> None:
    with pytest.raises(ErrorPage, match="Report not found"):
        read("<html><body><main><h1>Report not found</h1><p>It may have moved.</p></main></body></html>")
    with pytest.raises(NoText):
        read("<html><body><script>load()</script></body></html>")

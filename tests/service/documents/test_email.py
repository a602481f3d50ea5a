"""Messages as mail programs send them. All words are invented."""

from __future__ import annotations

from datetime import date
from email.message import EmailMessage

import pytest

from labels.passages import BlockKind
from service.documents import reading
from service.documents.document import Document
from service.errors import DamagedDocument, EncryptedDocument, NoText

FIRST = (
    "Visits to children in need in Sallowby were late in four cases out of ten, the report says, and nobody had told "
    "the managers who could have put it right before it was published this morning in full."
)
SECOND = "The leader of the council said: “We are sorry – £2 million will not undo it.”"
HEAD = (
    b"From: press@sallowby.example\nTo: desk@courier.example\nSubject: Visits\nDate: Mon, 6 May 2024 09:30:00 +0100\n"
)


def passages(document: Document) -> list[str]:
    return [passage.text for passage in document.passages]


def message(plain: str | None = None, page: str | None = None, cte: str = "8bit") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "press@sallowby.example", "desk@courier.example", "Late visits – sorry"
    made["Date"] = "Mon, 6 May 2024 09:30:00 +0100"
    if plain is not None:
        made.set_content(plain, cte=cte)
    if page is not None:
        (made.add_alternative if plain is not None else made.set_content)(page, subtype="html", cte=cte)
    return made


@pytest.mark.parametrize("cte", ["8bit", "quoted-printable", "base64"])
def test_a_plain_message(cte: str) -> None:
    document = reading.read(bytes(message(f"{FIRST}\n\n{SECOND}\n", cte=cte)))
    assert document.media_type == "message/rfc822"
    assert (document.title, document.published) == ("Late visits – sorry", date(2024, 5, 6))
    assert passages(document) == [FIRST, SECOND]


@pytest.mark.parametrize("cte", ["8bit", "quoted-printable", "base64"])
def test_an_html_message(cte: str) -> None:
    made = message(page=f"<html><body><p>{FIRST}</p><p>{SECOND}</p></body></html>", cte=cte)
    assert passages(reading.read(bytes(made))) == [FIRST, SECOND]


def test_the_plain_one_of_two_alternatives_is_read() -> None:
    made = message(f"{FIRST}\n\n{SECOND}\n", f"<p>{FIRST}</p><p>Other words of this kind are in the page.</p>")
    assert passages(reading.read(bytes(made))) == [FIRST, SECOND]


def test_a_plain_stub_gives_way_to_the_page() -> None:
    made = message("This message is in HTML.", f"<p>{FIRST}</p><p>{SECOND}</p>")
    assert passages(reading.read(bytes(made))) == [FIRST, SECOND]


def test_attachments_are_left_alone() -> None:
    made = message(f"{FIRST}\n")
    made.add_attachment("No one may read this, which is attached.", filename="a.txt")
    made.add_attachment(b"%PDF-1.7 not even one", maintype="application", subtype="pdf", filename="a.pdf")
    assert passages(reading.read(bytes(made))) == [FIRST]


@pytest.mark.parametrize(
    "after",
    [
        "-- \nTamsin Quell\nPress officer who has been here for years and years.\n",
        "On Mon, 6 May 2024 at 09:30, Orla Penn <o@sallowby.example> wrote:\n> Is it true that visits were late?\n",
        "On Mon, 6 May 2024 at 09:30, Orla Penn\n<o@sallowby.example> wrote:\n> Is it true that visits were late?\n",
        "-----Original Message-----\nFrom: Orla Penn\nSent: 6 May\n\nIs it true that visits were late?\n",
        "Kind regards\n\nTamsin Quell\nPress officer\nSallowby Council\n",
        "This email and any attachments are confidential and intended solely for the person named. Delete it.\n",
    ],
)
def test_signatures_and_answered_messages_are_no_passages(after: str) -> None:
    document = reading.read(bytes(message(f"{FIRST}\n\n{SECOND}\n\n{after}")))
    assert passages(document) == [FIRST, SECOND]
    assert document.blocks[-1].kind is BlockKind.FURNITURE


@pytest.mark.parametrize("mark", ["---------- Forwarded message ---------", "Begin forwarded message:"])
def test_a_forwarded_message_is_read(mark: str) -> None:
    body = (
        f"{mark}\nFrom: Orla Penn <o@sallowby.example>\nDate: 6 May\nSubject: Visits\nTo: me\n\n{FIRST}\n\n{SECOND}\n"
    )
    assert passages(reading.read(bytes(message(body)))) == [FIRST, SECOND]


@pytest.mark.parametrize("said", ["utf-8", "us-ascii", "iso-8859-1", "x-unknown", "hex", "windows-1252", "utf-7"])
@pytest.mark.parametrize("real", ["utf-8", "cp1252"])
def test_a_wrong_charset(said: str, real: str) -> None:
    data = HEAD + f"Content-Type: text/plain; charset={said}\n\n".encode() + f"{FIRST}\n\n{SECOND}\n".encode(real)
    assert passages(reading.read(data)) == [FIRST, SECOND]


def test_headers_that_are_none_of_a_date_or_subject() -> None:
    data = HEAD.replace(b"Mon, 6 May 2024", b"Sometime").replace(b"Visits", b"Caf\xe9 =?x?q?=FF?=")
    document = reading.read(data + b"\n" + FIRST.encode())
    assert document.published is None
    str(document.title).encode()


def test_bad_messages() -> None:
    with pytest.raises(NoText):
        reading.read(HEAD + b"\n \n")
    with pytest.raises(NoText):
        reading.read(HEAD + b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n")
    with pytest.raises(EncryptedDocument):
        reading.read(HEAD + b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\nMIAGCSqG\n")
    parts = (b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(3_000))
    with pytest.raises(DamagedDocument):
        reading.read(HEAD + b"".join(parts))


def test_a_message_in_utf_16() -> None:
    assert passages(reading.read((HEAD.decode() + f"\n{FIRST}\n").encode("utf-16"))) == [FIRST]

"""Documents over HTTP: scored, kept, found, compared, forgotten; on every database."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import URL

from labels import taxonomy
from models.classifier import Classifier
from service import analysis, compare
from tests.service.api.answers import problem

UNKNOWN = {"title": None, "council": None, "published": None, "kind": None, "url": None}
KNOWN = {
    "title": "Ours", "council": "Tarnholme", "published": "2026-05-04", "kind": "council_release",
    "url": "https://tarnholme.example/news/1",
}  # fmt: skip
REPORT = "Plans for children in care drift, and reviews are late.\n\nManagers do not know how many visits are missed.\n"
RESPONSE = "We are sorry that plans for children in care drift. We accept every word of it.\n"


def test_a_file_and_inline_text_give_the_document_of_score(
    client: TestClient, champion: Classifier, release: str
) -> None:
    expected = analysis.analyse(release.encode(), champion).model_dump(mode="json")
    sent = client.post("/v1/documents", files={"file": ("release.txt", release.encode())})
    assert sent.status_code == 200 and sent.json() == expected | {"path": "release.txt"}
    inline = client.post("/v1/documents", json={"text": release, **KNOWN}).json()
    assert inline == expected | KNOWN | {"path": "release.txt"}
    page = client.post("/v1/documents", json={"html": "<p>The director resigned over the failings.</p>"}).json()
    assert page["media_type"] == "text/html" and page["summary"]["passages"] == 1


def test_a_form_carries_what_is_known_of_a_file(client: TestClient) -> None:
    found = client.post("/v1/documents", files={"file": ("a.txt", b"Reviews slip.")}, data=KNOWN).json()
    assert {name: found[name] for name in KNOWN} == KNOWN
    wrong = client.post("/v1/documents", files={"file": ("a.txt", b"Reviews slip.")}, data={"kind": "poem"})
    assert "where" in wrong.text and "council_release" in wrong.text
    problem(wrong, 422, "invalid-request")


def test_the_same_content_is_one_document(client: TestClient, release: str) -> None:
    content = release.replace("four", "six").encode()
    first = client.post("/v1/documents", files={"file": ("first.txt", content)}, data={"council": "Tarnholme"}).json()
    again = client.post("/v1/documents", files={"file": ("again.txt", content)}, data={"title": "Again"}).json()
    assert again == first | {"path": "again.txt", "title": "Again"}
    stored = list(everything(client, "/v1/documents"))
    assert [document["title"] for document in stored if document["id"] == first["id"]] == ["Again"]
    assert client.get(f"/v1/documents/{first['id']}").json() == again


def test_many_clients_may_send_the_same_at_once(client: TestClient) -> None:
    texts = [f"Reviews slipped in week {n % 4} of the year." for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: client.post("/v1/documents", json={"text": text}), texts))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 4


def test_an_idempotency_key_stands_for_one_request(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    body = {"text": "Return interviews came late.", "council": "Marl"}
    first = client.post("/v1/documents", json=body, headers=headers)
    assert client.post("/v1/documents", json=body, headers=headers).json() == first.json()
    for other in ({"text": "Return interviews came early."}, body | {"council": "Ferrow"}):
        detail = problem(client.post("/v1/documents", json=other, headers=headers), 422, "idempotency-key-reused")
        assert "k-1" in detail
    assert client.get(f"/v1/documents/{first.json()['id']}").json()["council"] == "Marl"
    client.post("/v1/documents", json=body | {"council": "Ferrow"})
    assert client.post("/v1/documents", json=body, headers=headers).json()["council"] == "Ferrow"  # not undone
    client.delete(f"/v1/documents/{first.json()['id']}")
    problem(client.post("/v1/documents", json=body, headers=headers), 404, "not-found")


def test_a_document_that_would_take_too_long_is_for_a_batch(serve: Callable[..., TestClient]) -> None:
    client = serve(max_passages=2)
    body = {"text": "Plans drift.\n\nVisits are late.\n\nReviews are late."}
    assert "CANDOUR_MAX_PASSAGES" in problem(client.post("/v1/documents", json=body), 413, "too-large")
    compared = client.post("/v1/compare", json={"report": {"text": "Plans drift."}, "response": body})
    assert "response" in problem(compared, 413, "too-large")


def test_documents_are_found_page_by_page(client: TestClient) -> None:
    sent = [
        client.post("/v1/documents", json={"text": f"Visit {n} to the child was late.", "council": "Ostrey"}).json()[
            "id"
        ]
        for n in range(7)
    ]
    found = list(everything(client, "/v1/documents?council=ostrey&limit=3"))
    assert [document["id"] for document in found] == sent[::-1]
    assert all("passages" not in document and document["summary"]["passages"] == 1 for document in found)
    assert (
        client.get("/v1/documents", params={"council": "Ostrey", "text": "visit 3"}).json()["items"][0]["id"] == sent[3]
    )
    assert client.get("/v1/documents?council=Nowhere").json() == {"items": [], "next": None}


def test_passages_are_found_across_documents(client: TestClient) -> None:
    for council in ("Ash", "Birch"):
        client.post("/v1/documents", json={"text": RESPONSE + f"\nThe bins of {council} are blue.", "council": council})
    found = list(everything(client, "/v1/passages?stance=apologetic&theme=care_planning&limit=1"))
    assert {"Ash", "Birch"} <= {passage["council"] for passage in found}
    assert all("apologetic" in p["stances"] and "care_planning" in p["themes"] for p in found)
    (one,) = client.get("/v1/passages", params={"text": "BINS birch"}).json()["items"]
    assert one["council"] == "Birch" and one["id"] == f"{one['document']}-{one['position']}"
    document = client.get(f"/v1/documents/{one['document']}").json()
    assert {name: one[name] for name in document["passages"][0]} == document["passages"][one["position"]]


def test_a_deleted_document_is_gone_with_its_passages(client: TestClient) -> None:
    sent = client.post("/v1/documents", json={"text": "Quillwort grows beside the office."}).json()["id"]
    assert client.get("/v1/passages?text=quillwort").json()["items"]
    assert client.delete(f"/v1/documents/{sent}").status_code == 204
    assert client.get("/v1/passages?text=quillwort").json()["items"] == []
    for answer in (client.get(f"/v1/documents/{sent}"), client.delete(f"/v1/documents/{sent}")):
        assert sent in problem(answer, 404, "not-found")


@pytest.mark.parametrize(
    ("content", "status", "type_"),
    [
        (b"", 422, "empty-document"),
        (bytes(range(256)) * 40, 415, "unsupported-document"),
        (b"%PDF-1.7 and then nothing", 422, "damaged-document"),
        (b"a" * 200_001, 413, "too-large"),
    ],
)
def test_what_cannot_be_scored_is_refused(client: TestClient, content: bytes, status: int, type_: str) -> None:
    problem(client.post("/v1/documents", files={"file": ("a.pdf", content)}), status, type_)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "a", "html": "b"},
        {"text": 1},
        {"text": "a", "x": 1},
        [],
        {"text": "a", "url": "javascript:1"},
        {"text": "a", "published": 0},
    ],
)
def test_inline_documents_of_another_form_are_refused(client: TestClient, body: object) -> None:
    problem(client.post("/v1/documents", content=json.dumps(body)), 422, "invalid-request")


def test_the_form_type_is_read_without_regard_to_case(client: TestClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nPlans drift.\r\n--x--\r\n'
    response = client.post("/v1/documents", content=body, headers={"content-type": "Multipart/Form-Data; boundary=x"})
    assert response.status_code == 200 and response.json()["passages"][0]["text"] == "Plans drift."


def test_bodies_that_are_not_what_they_say_are_refused(client: TestClient) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    problem(client.post("/v1/documents", content=b"no form", headers=form), 400, "malformed-request")
    problem(client.post("/v1/documents", content=b"{"), 400, "malformed-request")
    problem(client.post("/v1/documents", files={"other": ("a.txt", b"x")}), 422, "invalid-request")
    other = client.post("/v1/documents", content=b"%PDF-", headers={"content-type": "application/pdf"})
    assert "application/pdf" in problem(other, 415, "unsupported-body")


@pytest.mark.parametrize(
    "query",
    ["cursor=none", "limit=0", "limit=101", "kind=poem", "since=tomorrow", "until=0", "colour=red", "theme=Leadership"],
)
def test_listings_refuse_what_they_do_not_know(client: TestClient, query: str) -> None:
    for path in ("/v1/documents", "/v1/passages"):
        answer = client.get(f"{path}?{query}")
        problem(answer, 422, answer.json()["type"])
    assert "CANDOUR_MAX_LISTED" in problem(client.get("/v1/documents?limit=101"), 422, "invalid-input")


@pytest.mark.parametrize("path", ["/v1/documents", "/v1/passages"])
@pytest.mark.parametrize(("axis", "names"), [("theme", taxonomy.load().themes), ("stance", taxonomy.load().stances)])
def test_a_label_that_there_is_not_is_refused_by_those_that_there_are(
    client: TestClient, path: str, axis: str, names: tuple[str, ...]
) -> None:
    refused = client.get(path, params={axis: "housing"})
    problem(refused, 422, "invalid-request")
    (fault,) = refused.json()["errors"]
    assert fault["where"] == ["query", axis] and ", ".join(names) in fault["detail"]
    assert all(client.get(path, params={axis: name}).status_code == 200 for name in names)


def test_compare_answers_like_the_command(client: TestClient, champion: Classifier) -> None:
    body = {"report": {"text": REPORT, "title": "Letter"}, "response": {"text": RESPONSE}}
    found = client.post("/v1/compare", json=body).json()
    expected = compare.compare(
        analysis.analyse(REPORT.encode(), champion), analysis.analyse(RESPONSE.encode(), champion), taxonomy.load()
    )
    assert found == expected.model_dump(mode="json")
    assert {t["theme"]: t["verdict"] for t in found["themes"]}["care_planning"] == "apologised"
    sent = client.post("/v1/documents", json={"text": REPORT}).json()["id"]
    assert client.post("/v1/compare", json=body | {"report": {"id": sent}}).json() == found


def test_compare_says_which_side_is_wrong(client: TestClient) -> None:
    body: dict[str, Any] = {"report": {"text": REPORT}, "response": {"text": RESPONSE}}
    problem(client.post("/v1/compare", json={"report": {"text": "A."}}), 422, "invalid-request")
    assert "response" in problem(
        client.post("/v1/compare", json=body | {"response": {"text": " "}}), 422, "empty-document"
    )
    assert "report" in problem(client.post("/v1/compare", json=body | {"report": {"id": "0"}}), 404, "not-found")


def everything(client: TestClient, path: str) -> Iterator[dict[str, Any]]:
    """All items of a listing, page by page."""
    page = client.get(path).json()
    yield from page["items"]
    while page["next"]:
        page = client.get(str(URL(path).copy_set_param("cursor", page["next"]))).json()
        yield from page["items"]

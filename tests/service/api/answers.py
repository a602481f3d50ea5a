"""What the tests of the API ask of an answer."""

from httpx import Response


def problem(response: Response, status: int, type_: str) -> str:
    """The detail of a problem, which must have this status and type."""
    assert response.status_code == status and response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == type_ and body["status"] == status and body["title"]
    return str(body["detail"])

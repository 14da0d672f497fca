"""What every refusal looks like."""

from typing import Any

import httpx

# How a busy machine may still call fast; a refusal takes a few milliseconds.
FAST_SECONDS = 2.0


def assert_problem(
    response: httpx.Response, status: int, code: str | None = None, *, field: str | None = None
) -> dict[str, Any]:
    """Assert that it is a whole problem+json answer of this status; returns its body."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"https://trunkline.dev/problems/{body['code']}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert code in (None, body["code"]), body
    if status == 400:
        for error in body["errors"]:
            assert error.keys() == {"field", "message"}
            assert error["field"]
            assert error["message"]
        assert field in (None, body["errors"][0]["field"]), body["errors"]
    assert response.elapsed.total_seconds() < FAST_SECONDS
    return body

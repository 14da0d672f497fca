"""Who may ask, before what is asked (contract, Authentication)."""

from typing import Any

import pytest

from tests.api.conftest import Trunkline

ID = "2" * 26


@pytest.mark.parametrize(
    ("method", "path", "arguments"),
    [
        ("GET", "/v1/services/crm/chats?view=everything", {}),
        ("GET", "/v1/channels?limit=0", {}),
        ("GET", "/v1/channels?colour=blue", {}),
        ("POST", "/v1/channels", {}),
        ("POST", "/v1/channels", {"content": b"{"}),
        ("POST", f"/v1/services/crm/chats/{ID}/assign", {"json": {"user_id": 5}}),
        ("POST", f"/v1/services/crm/chats/{ID}/messages", {"json": {}}),
    ],
)
@pytest.mark.parametrize("key", ["", "Bearer tk_nobody_secret"])
async def test_without_a_valid_key_the_answer_is_401_whatever_else_is_wrong(
    trunkline: Trunkline, method: str, path: str, arguments: dict[str, Any], key: str
):
    headers = {"Authorization": key} if key else {}
    response = await trunkline.http.request(method, path, headers=headers, **arguments)
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")

"""A client that goes away in the middle of its request is nobody's mistake."""

import asyncio
import logging
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import Trunkline


@pytest.mark.parametrize("path", ["/webhooks/whatsapp", "/v1/channels"])
async def test_a_body_that_breaks_off_is_not_logged_as_an_error(
    trunkline: Trunkline, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    org = await trunkline.organisation()
    address = urlsplit(trunkline.url)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {org.api_key}\r\nContent-Length: 1000\r\n\r\n{{"
    )
    with caplog.at_level(logging.WARNING):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.2)
    assert [record.getMessage() for record in caplog.records] == []
    assert (await trunkline.http.get("/healthz")).status_code == 200

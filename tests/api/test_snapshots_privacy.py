"""What is kept of states holds nothing that sealing protects (E4)."""

import psycopg
import pytest

from api.commands import states
from domain.aggregates import AGGREGATES
from tests.api.conftest import Trunkline
from tests.api.deliveries import eventually
from tests.api.operations import office_of

PRIVATE = ("Marisol", "Ortega", "2025550143", "Hello there", "Canary", "canary@acme.example")


async def test_nothing_personal_stands_in_what_is_kept(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every state is kept after every command: erasing a key has nothing to look for."""
    monkeypatch.setattr(states, "SNAPSHOT_EVENTS", 1)
    office = await office_of(trunkline, "crm", "desk")
    await office.admin.post(
        "/v1/users",
        {"name": "Canary", "email": "canary@acme.example", "role": "agent", "services": {}},
        expect=201,
    )
    await office.admin.post(office.path("/v1/services/{service}/chats/{chat_id}/visit"))
    await trunkline.says("Hello there", account_id=office.names["account_id"])

    async def kinds() -> set[str]:
        return {stream.partition(":")[0] for stream, _ in await kept(trunkline)}

    # Nobody has chosen a rule or wants readings shown, and only Messenger has watermarks.
    await eventually(kinds, set(AGGREGATES) - {"unrouted", "rules", "watermark", "marking"})
    for stream, state in await kept(trunkline):
        for private in PRIVATE:
            assert private.encode() not in state, stream


async def kept(trunkline: Trunkline) -> list[tuple[str, bytes]]:
    async with await psycopg.AsyncConnection.connect(trunkline.database.migration_url) as database:
        cursor = await database.execute("SELECT stream, state FROM trunkline.snapshots")
        return await cursor.fetchall()

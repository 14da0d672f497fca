"""Durable WhatsApp webhooks over HTTP, against the same route with decide and append cut out."""

import hashlib
import hmac
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from api.commands.unit import Unit
from api.main import Database, core
from api.settings import Settings
from benchmarks.load import packed
from domain import account as accounts
from domain.account import Account

SECRET = "benchmark"
ACCOUNT = "527719004413008"
BUSINESS = "418820007715532"
STREAM = accounts.stream_of("whatsapp", ACCOUNT)
CONNECTIONS = 64
CUSTOMERS = 2_000


@dataclass(frozen=True)
class Measured:
    """One run."""

    per_second: float
    p50_ms: float
    p99_ms: float


def measure(url: str, *, count: int, run: str, cut: bool) -> Measured:
    """Post `count` new messages; `run` makes their ids new. Counts the events afterwards."""
    arguments = [sys.executable, "-m", "benchmarks.webhook_server", url, SECRET]
    server = subprocess.Popen(
        arguments + (["cut"] if cut else []), stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip().rpartition(":")[2]
        # Customers are met once and write for years: the first message of each is not measured.
        _load(port, _requests(CUSTOMERS, f"{run}first"))
        before = _events(url)
        result = _load(port, _requests(count, run))
        written = _events(url) - before
    finally:
        server.terminate()
        server.wait(15)
    assert result["refused"] == 0, result
    assert cut or written == count, f"{written} events for {count} messages"
    return Measured(count / result["seconds"], result["p50_ms"], result["p99_ms"])


async def hold_account(url: str) -> None:
    """Make an organisation that holds the account, as its directory and its log say."""
    settings = Settings(home=Path("."), database_url=url, master_key=bytes(32))
    async with core(settings, Database(url, url, None, False)) as parts:
        org = await parts.directory.create_organisation("benchmark")
        await parts.directory.claim_account(org, "whatsapp", ACCOUNT, business_account_id=BUSINESS)

        def claim(unit: Unit) -> None:
            claimed = accounts.claim(
                unit.state(STREAM, Account),
                platform="whatsapp",
                account_id=ACCOUNT,
                business_account_id=BUSINESS,
                user_id="owner",
            )
            unit.record(STREAM, claimed)

        await parts.context.executor.execute(org, claim)


def _load(port: str, requests: list[bytes]) -> dict[str, float]:
    loaded = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", "127.0.0.1", port, str(CONNECTIONS)],
        input=packed(requests),
        capture_output=True,
        check=True,
    )
    result: dict[str, float] = json.loads(loaded.stdout)
    return result


def _events(url: str) -> int:
    with psycopg.connect(url) as connection:
        connection.execute("SET ROLE trunkline_project")
        row = connection.execute(
            "SELECT coalesce(sum(position), 0) FROM trunkline.heads"
        ).fetchone()
    assert row is not None
    return int(row[0])


def _requests(count: int, run: str) -> list[bytes]:
    now = int(time.time())
    return [_request(_body(run, number, now)) for number in range(count)]


def _request(body: bytes) -> bytes:
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        "POST /webhooks/whatsapp HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\n\r\n"
    )
    return head.encode() + body


def _body(run: str, number: int, now: int) -> bytes:
    phone = f"1202{number % CUSTOMERS:07}"
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": ACCOUNT},
        "contacts": [{"profile": {"name": "Marisol Ortega"}, "wa_id": phone}],
        "messages": [
            {
                "from": phone,
                "id": f"wamid.{run}{number:08}",
                "timestamp": str(now),
                "type": "text",
                "text": {"body": "Where is my order A-1029? I have been waiting since Monday."},
            }
        ],
    }
    change = {"field": "messages", "value": value}
    entry = {"id": BUSINESS, "changes": [change]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()

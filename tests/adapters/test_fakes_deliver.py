"""How LINE's and Telegram's fakes deliver webhooks: as the platforms do, at their worst."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from adapters.fakes.server import Answer, FakeServer, Request
from adapters.line import webhook as line_webhook
from adapters.line.fake import FakeLine
from adapters.line.fake_rules import FakeLineAccount
from adapters.telegram.fake import FakeTelegram
from adapters.telegram.fake_rules import FakeBot

ACCOUNT, BOT = FakeLineAccount(), FakeBot()
KIM = "U19c8e7d6b5a493827160f5e4d3c2b1a0"
LOST = Answer(status=500)


@asynccontextmanager
async def receiver(handle: Callable[[Request], Answer]) -> AsyncIterator[tuple[str, list[Request]]]:
    """A server that is given webhooks: its address, and what came."""
    came: list[Request] = []

    def keep(request: Request) -> Answer:
        came.append(request)
        return handle(request)

    server = FakeServer(keep)
    await server.start()
    try:
        yield server.base_url, came
    finally:
        await server.stop()


def first_lost() -> Callable[[Request], Answer]:
    """Answers the very first delivery badly, and all others well."""
    answers = iter([LOST])
    return lambda _: next(answers, Answer())


# LINE.


async def test_line_says_that_it_delivers_again_and_signs_anew() -> None:
    async with receiver(first_lost()) as (url, came), FakeLine(webhook_url=url) as fake:
        fake.customer_says(KIM, "hello")
        await fake.settled()
        first, second = [json.loads(each.body)["events"][0] for each in came]
        contexts = [each.pop("deliveryContext") for each in (first, second)]
        assert contexts == [{"isRedelivery": False}, {"isRedelivery": True}]
        assert first == second
        for each in came:
            assert each.path == f"/{ACCOUNT.user_id}"
            signature = each.headers["x-line-signature"].encode()
            secrets = [ACCOUNT.channel_secret.encode()]
            assert line_webhook.verify(each.body, signature, channel_secrets=secrets)


async def test_line_delivers_again_only_where_it_is_asked_to() -> None:
    async with (
        receiver(lambda _: LOST) as (url, came),
        FakeLine(webhook_url=url, redelivers=False) as fake,
    ):
        fake.customer_says(KIM, "hello")
        await fake.settled()
        assert len(came) == 1


# Telegram.


def texts(came: list[Request]) -> list[Any]:
    """What came, in its order; a delivery that was tried twice stands there twice."""
    return [json.loads(each.body)["message"]["text"] for each in came]


async def test_telegram_holds_up_a_chat_until_its_update_is_taken_and_no_other_chat() -> None:
    refusals = iter([LOST] * 3)

    def handle(request: Request) -> Answer:
        return next(refusals, Answer()) if b"kim 1" in request.body else Answer()

    async with receiver(handle) as (url, came), FakeTelegram(webhook_url=url) as fake:
        for text in ("kim 1", "kim 2", "kim 3"):
            fake.customer_says(1, text)
        fake.customer_says(2, "lee 1")
        await fake.settled()
        kim = [each for each in texts(came) if each.startswith("kim")]
        assert kim == ["kim 1"] * 4 + ["kim 2", "kim 3"]
        assert texts(came).index("lee 1") < texts(came).index("kim 2")
        tokens = {each.headers["x-telegram-bot-api-secret-token"] for each in came}
        assert tokens == {BOT.secret_token}
        assert {each.path for each in came} == {f"/{BOT.bot_id}"}


async def test_telegram_comes_back_when_it_is_asked_to() -> None:
    busy = iter([Answer(status=503, headers=(("Retry-After", "1"),))])
    moments: list[float] = []

    def handle(_: Request) -> Answer:
        moments.append(time.monotonic())
        return next(busy, Answer())

    async with receiver(handle) as (url, _), FakeTelegram(webhook_url=url) as fake:
        fake.customer_says(1, "hello")
        await fake.settled()
        assert len(moments) == 2
        assert moments[1] - moments[0] >= 1.0

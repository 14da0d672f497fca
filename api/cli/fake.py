"""`trunkline fake`: a platform to develop against, in the foreground."""

import asyncio
import json
import shlex
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import click
import uvloop

from api.main import PRETENDED, Pretended, pretended

LOOK_SECONDS = 0.1


@click.command("fake", short_help="Run a fake platform to develop against.")
@click.argument("platform", type=click.Choice(list(PRETENDED)))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 takes a free one.")
@click.option(
    "--webhook-url",
    help="Where webhooks go. [default: http://127.0.0.1:8000/webhooks/PLATFORM]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def fake_command(platform: str, port: int, webhook_url: str | None, as_json: bool) -> None:
    """Run a fake platform: it takes messages, delivers webhooks, and fails on demand.

    It says how Trunkline is started with it, and how a customer writes. Ctrl-C ends it.
    """
    address = webhook_url or f"http://127.0.0.1:8000/webhooks/{platform}"
    printer = Printer(as_json=as_json)
    uvloop.run(_serve(platform, port, address, printer))


async def _serve(platform: str, port: int, webhook_url: str, printer: "Printer") -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with pretended(platform, webhook_url=webhook_url, port=port) as one:
            printer.introduce(platform, one, webhook_url)
            while True:
                printer.tell(one)
                await asyncio.sleep(LOOK_SECONDS)
    except asyncio.CancelledError:
        return  # Somebody has seen enough.


class Printer:
    """Says what is new since it looked last."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._accepted = 0
        self._told: dict[int, int] = {}  # Of each webhook, how many of its answers.

    def introduce(self, platform: str, one: Pretended, webhook_url: str) -> None:
        """All that one needs to know to use it."""
        base = one.fake.base_url
        environment = {f"TRUNKLINE_{platform.upper()}_API_BASE": base}
        if one.app_secret is not None:
            environment["TRUNKLINE_META_APP_SECRET"] = one.app_secret
        url = f"{base}/_fake/customers/{one.customer}/messages"
        write = f"curl {url} --data {shlex.quote(json.dumps({'text': 'Hello'}))}"
        trouble = shlex.quote(json.dumps({"kind": "drops", "count": 3}))
        if self._as_json:
            self._line(
                "ready",
                base=base,
                webhook_url=webhook_url,
                environment=environment,
                account_id=one.account_id,
                credentials=dict(one.credentials),
                write=write,
            )
            return
        variables = " ".join(f"{name}={value}" for name, value in environment.items())
        click.echo(
            f"A fake {platform} serves at {base} and delivers to {webhook_url}\n\n"
            f"Start Trunkline    {variables} trunkline serve\n"
            f"Connect            account_id {one.account_id}\n"
            f"                   credentials {json.dumps(dict(one.credentials))}\n"
            f"A customer writes  {write}\n"
            f"Make trouble       curl {base}/_fake/trouble --data {trouble}\n"
            f"                   (also is_down, accepts_then_drops)\n"
        )

    def tell(self, one: Pretended) -> None:
        """Messages that were taken, and answers to webhooks."""
        taken = one.fake.accepted[self._accepted :]
        self._accepted += len(taken)
        for each in taken:
            self._line("message", to=each.to, kind=each.kind, text=each.text, id=each.platform_id)
        for number, delivery in enumerate(one.fake.deliveries):
            answers = delivery.answers[self._told.get(number, 0) :]
            self._told[number] = len(delivery.answers)
            for status in answers:
                self._line("webhook", number=number, answer=status)

    def _line(self, what: str, **members: Any) -> None:
        if self._as_json:
            click.echo(json.dumps({"what": what, **members}, ensure_ascii=False))
            return
        at = datetime.now().astimezone().strftime("%H:%M:%S")
        click.echo(f"{at}  {_WORDS[what](**members)}")


def _message(*, to: str, kind: str, text: str | None, **_: Any) -> str:
    return f"to {to}: {text} ({kind})" if text else f"to {to}: ({kind})"


def _webhook(*, number: int, answer: int | None) -> str:
    return f"webhook {number} was answered with {answer}"


_WORDS: Mapping[str, Callable[..., str]] = {"message": _message, "webhook": _webhook}

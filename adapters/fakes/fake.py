"""A fake platform's life: it serves, fails on demand, goes down and comes back."""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Self

import msgspec

from adapters.fakes.behaviour import Behaviour
from adapters.fakes.courier import Courier, Delivery
from adapters.fakes.server import BODY_BYTES_MAX, Answer, FakeServer, Request

# What stands under this is no part of the platform: it is for whoever plays with the fake.
CONTROL_PATH = "/_fake/"


class AcceptedSend(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a fake took, whether or not its sender ever learnt so."""

    account_id: str
    platform_id: str
    to: str  # As the platform names the recipient.
    kind: str
    text: str | None
    mark: str | None  # What the sender knows it by, where the platform has a place for that.
    at: datetime
    body: dict[str, Any]  # As it came.


class Fake:
    """What a fake platform is made of; it says itself how it usually answers.

    async with FakeLine(webhook_url="http://127.0.0.1:8000/webhooks/line/U1…") as fake:
        fake.base_url                   # For TRUNKLINE_LINE_API_BASE.
        fake.next_requests(drops())     # What the next sends meet, one each.
        await fake.settled()            # Until every webhook is acknowledged or given up.
        fake.accepted                   # Every message it took, doubles included.
    """

    SENDS: ClassVar[str]
    """What stands in the paths by which messages are sent."""

    def __init__(
        self, courier: Courier, *, port: int = 0, body_bytes_max: int = BODY_BYTES_MAX
    ) -> None:
        """`port` 0 takes any that is free."""
        self.requests: list[Request] = []
        self.accepted: list[AcceptedSend] = []
        self._courier = courier
        self._script: deque[tuple[str, Behaviour]] = deque()
        self._control: Callable[[Request], Answer] | None = None
        self._server = FakeServer(self._handle, port=port, body_bytes_max=body_bytes_max)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._courier.aclose()
        await self._server.stop()

    @property
    def base_url(self) -> str:
        """What stands in for the platform's own address."""
        return self._server.base_url

    @property
    def deliveries(self) -> list[Delivery]:
        """Every webhook so far, with what was answered to it."""
        return self._courier.deliveries

    def next_requests(self, *behaviours: Behaviour, to: str | None = None) -> None:
        """What the next requests that send meet, one each; after that all is as usual.

        Others, whose paths have `to` in them, if it is given: "" is in all.
        """
        where = self.SENDS if to is None else to
        self._script.extend((where, behaviour) for behaviour in behaviours)

    def deliver_to(self, webhook_url: str | None) -> None:
        """Where webhooks go from now on; None: nowhere."""
        self._courier.webhook_url = webhook_url

    def deliver_again(self, *, seed: float = 0) -> None:
        """Every webhook so far comes once more, in another order."""
        self._courier.post_again(Random(seed))  # noqa: S311 - An order that can be repeated.

    def controlled_by(self, control: Callable[[Request], Answer]) -> None:
        """Who answers under `CONTROL_PATH`."""
        self._control = control

    async def go_down(self) -> None:
        """Refuse connections until `come_back`."""
        await self._server.stop()

    async def come_back(self) -> None:
        """Serve again, at the same address."""
        await self._server.start()

    async def settled(self) -> None:
        """Wait until every webhook is acknowledged or given up."""
        await self._courier.settled()

    def answer(self, request: Request) -> Answer:
        """What the platform says when nothing goes wrong."""
        raise NotImplementedError

    def _handle(self, request: Request) -> Answer:
        if self._control is not None and request.path.startswith(CONTROL_PATH):
            return self._control(request)
        self.requests.append(request)
        usual = partial(self.answer, request)
        for scripted in self._script:
            to, behaviour = scripted
            if to in request.path:
                self._script.remove(scripted)
                return behaviour(usual)
        return usual()

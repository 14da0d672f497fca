"""A Send API to develop against: it behaves like Meta's, and fails on demand.

async with FakeSendApi(webhook_url="http://127.0.0.1:8000/webhooks/messenger") as fake:
    fake.base_url                       # For TRUNKLINE_MESSENGER_API_BASE.
    fake.customer_says("6473829104756123", "Hello")
    fake.next_requests(fails(10, 2018278), accepts_then_drops())
    await fake.settled()
    fake.accepted                       # Every message it took, doubles included.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from random import Random
from typing import Any

from adapters.fakes.courier import RETRY_DELAYS_SECONDS, Courier, Delivery
from adapters.fakes.fake import AcceptedSend, Fake
from adapters.fakes.forms import File, read_form
from adapters.fakes.meta import (
    CHALLENGE,
    JsonObject,
    as_meta_writes,
    handshake_query,
    refusal_answer,
    signed,
)
from adapters.fakes.server import Answer, Request, json_answer, read_json
from adapters.messenger.fake_rules import (
    FakePage,
    SendRefusal,
    Windows,
    check_action,
    check_attachment,
    check_message,
    check_template,
)
from adapters.messenger.fake_webhooks import (
    PAGE_INBOX,
    EventPlan,
    delivered,
    echo,
    envelope,
    from_customer,
    read,
)

# "Webhooks Disabled": after so long without an acknowledgement the page is unsubscribed.
FAILING_MAX = timedelta(hours=1)


class FakeSendApi(Fake):
    """The fake, running between `async with` and its end.

    `window` switches that rule on. Customers in `unavailable` take no messages. One `seed` gives
    one course of events, as far as the other side keeps the order.
    """

    SENDS = "/messages"

    def __init__(
        self,
        *,
        accounts: Sequence[FakePage] = (FakePage(),),
        app_secret: str = "fake-app-secret",  # noqa: S107 - It guards nothing.
        webhook_url: str | None = None,
        plan: EventPlan | None = None,
        window: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
        port: int = 0,
    ) -> None:
        self.plan = plan or EventPlan()
        self.unavailable: set[str] = set()
        self.read: list[tuple[str, str]] = []  # Pages, with the customers who were shown it.
        self.uploads: dict[str, File] = {}  # By attachment id.
        self.templates: set[tuple[str, str]] = set()  # Approved: name and language.
        self.subscribed = {page.page_id for page in accounts}
        self.other_apps: set[int] = set()  # Of every page, beside the one of the token.
        self._pages = {page.page_id: page for page in accounts}
        self._windows = Windows() if window else None
        self._now = now
        self._random = Random(seed)  # noqa: S311 - A plan that can be repeated, not a secret.
        self._posted: dict[str, list[tuple[datetime, Delivery]]] = defaultdict(list)
        secret = app_secret.encode()
        courier = Courier(
            webhook_url=webhook_url,
            sign=lambda body: signed(body, secret),
            retry_delays_seconds=retry_delays_seconds,
        )
        super().__init__(courier, port=port)

    # What a test or a demo does to it.

    async def register_webhook(self, webhook_url: str, *, verify_token: str) -> bool:
        """Meta's handshake; the address is used from now on if it answers well."""
        query = handshake_query(verify_token)
        return await self._courier.register(webhook_url, query, expected=CHALLENGE)

    def customer_says(
        self, customer: str, text: str, *, account_id: str | None = None, quotes: str | None = None
    ) -> str:
        """A customer writes; the id of their message."""
        mid = self._new_id()
        message: JsonObject = {"mid": mid, "text": text}
        if quotes is not None:
            message["reply_to"] = {"mid": quotes}
        self.customer_does(customer, account_id=account_id, message=message)
        return mid

    def customer_reads(self, customer: str, *, account_id: str | None = None) -> None:
        """A customer has seen everything until now."""
        page = self._page(account_id)
        now = self._now()
        self._post(page, read(page.page_id, customer, now, up_to=now))

    def customer_does(self, customer: str, *, account_id: str | None = None, **what: Any) -> None:
        """A customer does anything at all: `what` is the event's own member, as Meta writes it."""
        page, now = self._page(account_id), self._now()
        if self._windows is not None:
            self._windows.open(page.page_id, customer, now)
        self._post(page, from_customer(page.page_id, customer, now, **what))

    def page_says(self, customer: str, text: str, *, account_id: str | None = None) -> str:
        """Somebody answers in the page's own inbox; the id of their message."""
        page, mid = self._page(account_id), self._new_id()
        message = {"text": text}
        said = echo(
            page.page_id, customer, self._now(), mid=mid, app_id=PAGE_INBOX, message=message
        )
        self._post(page, said)
        return mid

    def tell(self, event: str, sent: AcceptedSend, *, after_seconds: float = 0.0) -> None:
        """Say what became of a message: `echo`, `delivery` or `read`."""
        page, mid = self._pages[sent.account_id], sent.platform_id
        match event:
            case "echo":
                message = _as_echoed(sent.body["message"])
                said = echo(
                    page.page_id, sent.to, sent.at, mid=mid, app_id=page.app_id, message=message
                )
            case "delivery":
                said = delivered(page.page_id, sent.to, mid=mid, up_to=sent.at)
            case _:
                said = read(page.page_id, sent.to, self._now(), up_to=sent.at)
        self._post(page, said, after_seconds=after_seconds)

    # What it answers.

    def answer(self, request: Request) -> Answer:
        """What Graph answers."""
        try:
            return json_answer(self._answer(request))
        except SendRefusal as refusal:
            return refusal_answer(refusal)

    def _answer(self, request: Request) -> JsonObject:
        match (request.method, *request.path.strip("/").split("/")):
            case ("GET", _, "app"):
                return {"id": str(self._of_token(request).app_id)}
            case ("GET", _, page_id):
                page = self._authorised(request, page_id)
                return {"id": page.page_id, "name": page.name}
            case ("POST", _, page_id, "messages"):
                return self._take(self._authorised(request, page_id), read_json(request.body))
            case ("POST", _, page_id, "message_attachments"):
                self._authorised(request, page_id)
                return self._keep(request)
            case (method, _, page_id, "subscribed_apps"):
                return self._subscription(self._authorised(request, page_id), method, request)
            case _:
                raise SendRefusal(2500)

    def _authorised(self, request: Request, page_id: str) -> FakePage:
        token = self._of_token(request).access_token
        page = self._pages.get(page_id)
        if page is None or page.access_token != token:
            raise SendRefusal(100, f"Object with ID '{page_id}' does not exist.", subcode=33)
        return page

    def _of_token(self, request: Request) -> FakePage:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        for page in self._pages.values():
            if page.access_token == token:
                return page
        raise SendRefusal(190)

    def _take(self, page: FakePage, document: Any) -> JsonObject:
        if isinstance(document, dict) and "sender_action" in document:
            return self._act(page, check_action(document))
        body = check_message(document)
        customer, message, now = body["recipient"]["id"], body["message"], self._now()
        self._check_customer(page, customer, needs_window=body["messaging_type"] != "UTILITY")
        sent = AcceptedSend(
            account_id=page.page_id,
            platform_id=self._new_id(),
            to=customer,
            kind=self._kind(message),
            text=message.get("text"),
            mark=message.get("metadata"),
            at=now,
            body=body,
        )
        self.accepted.append(sent)
        for after_seconds, event in self.plan.schedule(self._random):
            self.tell(event, sent, after_seconds=after_seconds)
        return {"recipient_id": customer, "message_id": sent.platform_id}

    def _act(self, page: FakePage, body: JsonObject) -> JsonObject:
        customer = body["recipient"]["id"]
        self._check_customer(page, customer)
        if body["sender_action"] == "mark_seen":
            self.read.append((page.page_id, customer))
        return {"recipient_id": customer}

    def _check_customer(self, page: FakePage, customer: str, *, needs_window: bool = True) -> None:
        if customer in self.unavailable:
            raise SendRefusal(551, subcode=1545041)
        if self._windows is None or not needs_window:
            return
        if not self._windows.is_open(page.page_id, customer, self._now()):
            raise SendRefusal(10, subcode=2018278)

    def _kind(self, message: JsonObject) -> str:
        if "text" in message:
            return "text"
        if "template" in message:
            check_template(message["template"], self.templates)
            return "template"
        kind, payload = check_attachment(message["attachment"])
        attachment_id = payload.get("attachment_id")
        if attachment_id not in self.uploads and not isinstance(payload.get("url"), str):
            raise SendRefusal(100, subcode=2018047)
        return kind

    def _keep(self, request: Request) -> JsonObject:
        form = read_form(request)
        document = read_json(form.fields.get("message", "").encode()) if form is not None else None
        if form is None or "filedata" not in form.files or not isinstance(document, dict):
            raise SendRefusal(100, "A file is given as a form.")
        check_attachment(document.get("attachment"))
        attachment_id = str(self._random.getrandbits(52))
        self.uploads[attachment_id] = form.files["filedata"]
        return {"attachment_id": attachment_id}

    def _subscription(self, page: FakePage, method: str, request: Request) -> JsonObject:
        self._unsubscribe_if_failing(page)
        if method == "GET":
            ours = {page.app_id} if page.page_id in self.subscribed else set()
            return {"data": [{"id": str(each)} for each in sorted(ours | self.other_apps)]}
        if method == "DELETE":
            self.subscribed.discard(page.page_id)
        elif "messages" not in request.query.get("subscribed_fields", "").split(","):
            raise SendRefusal(100, "The parameter subscribed_fields is required.")
        else:
            self._posted.pop(page.page_id, None)
            self.subscribed.add(page.page_id)
        return {"success": True}

    # Webhooks.

    def _post(self, page: FakePage, event: JsonObject, *, after_seconds: float = 0.0) -> None:
        """Deliver an event, if the page is still subscribed: what happens meanwhile is lost."""
        self._unsubscribe_if_failing(page)
        if page.page_id not in self.subscribed:
            return
        now = self._now()
        body = as_meta_writes(envelope(page.page_id, event, at=now))
        delivery = self._courier.post(body, after_seconds=after_seconds)
        if delivery is not None:
            self._posted[page.page_id].append((now, delivery))

    def _unsubscribe_if_failing(self, page: FakePage) -> None:
        tried = [each for each in self._posted[page.page_id] if each[1].answers]
        failing = list(takewhile(lambda each: not each[1].is_done, reversed(tried)))
        if failing and self._now() - failing[-1][0] >= FAILING_MAX:
            self.subscribed.discard(page.page_id)

    def _page(self, page_id: str | None) -> FakePage:
        return self._pages[page_id] if page_id else next(iter(self._pages.values()))

    def _new_id(self) -> str:
        return f"m_{self._random.getrandbits(256):064x}"


def _as_echoed(message: JsonObject) -> JsonObject:
    """What was sent, as its echo shows it: a file has an address there."""
    if "template" in message:
        return {name: value for name, value in message.items() if name != "template"}
    attachment = message.get("attachment")
    if attachment is None:
        return message
    payload = {"url": "https://scontent.xx.fbcdn.net/v/t1.0/sent"}
    shown = {"type": attachment["type"], "payload": payload}
    return {
        **{name: value for name, value in message.items() if name != "attachment"},
        "attachments": [shown],
    }

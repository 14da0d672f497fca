"""A Cloud API to develop against: it behaves like Meta's, and fails on demand.

async with FakeCloudApi(webhook_url="http://127.0.0.1:8000/webhooks/whatsapp") as fake:
    fake.base_url                       # For TRUNKLINE_WHATSAPP_API_BASE.
    fake.customer_says("12025550143", "Hello", name="Marisol Ortega")
    fake.next_requests(fails(131056), accepts_then_drops())
    await fake.settled()
    fake.accepted                       # Every message it took, doubles included.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal

from adapters.fakes.courier import RETRY_DELAYS_SECONDS, Courier
from adapters.fakes.fake import AcceptedSend, Fake
from adapters.fakes.meta import (
    CHALLENGE,
    JsonObject,
    as_meta_writes,
    handshake_query,
    refusal_answer,
    signed,
)
from adapters.fakes.server import BODY_BYTES_MAX, Answer, Request, json_answer, read_json
from adapters.whatsapp.fake_media import FILE_BYTES_MAX, FakeMedia, sent_file
from adapters.whatsapp.fake_rules import (
    MEDIA_TYPES,
    FakeAccount,
    GraphRefusal,
    PairLimit,
    Windows,
    check_message,
    new_wamid,
)
from adapters.whatsapp.fake_webhooks import StatusPlan, envelope, status_item


class FakeCloudApi(Fake):
    """The fake, running between `async with` and its end.

    `window` and `pair_limit` switch these rules on. Meta tells of a closed window sometimes at
    once and sometimes by a status: `window_errors` says which. One `seed` gives one course of
    events, as far as the other side keeps the order.
    """

    SENDS = "/messages"

    def __init__(
        self,
        *,
        accounts: Sequence[FakeAccount] = (FakeAccount(),),
        app_secret: str = "fake-app-secret",  # noqa: S107 - It guards nothing.
        webhook_url: str | None = None,
        plan: StatusPlan | None = None,
        window: bool = False,
        window_errors: Literal["answer", "status"] = "answer",
        pair_limit: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
        port: int = 0,
    ) -> None:
        self.read: list[tuple[str, str]] = []  # Accounts, with the messages marked in them.
        self.groups: dict[str, tuple[str, ...]] = {}  # Members' numbers; each gets its statuses.
        self.plan = plan or StatusPlan()
        self._accounts = {account.phone_number_id: account for account in accounts}
        self._has_window = window
        self._window_errors = window_errors
        self._windows = Windows()
        self._pair_limit = PairLimit() if pair_limit else None
        self._now = now
        self._random = Random(seed)  # noqa: S311 - A plan that can be repeated, not a secret.
        self._contacts: dict[str, JsonObject] = {}
        self.media = FakeMedia(self._random)
        secret = app_secret.encode()
        courier = Courier(
            webhook_url=webhook_url,
            sign=lambda body: signed(body, secret),
            retry_delays_seconds=retry_delays_seconds,
        )
        super().__init__(courier, port=port, body_bytes_max=FILE_BYTES_MAX + (1 << 20))

    # What a test or a demo does to it.

    async def register_webhook(self, webhook_url: str, *, verify_token: str) -> bool:
        """Meta's handshake; the address is used from now on if it answers well."""
        query = handshake_query(verify_token)
        return await self._courier.register(webhook_url, query, expected=CHALLENGE)

    def customer_says(
        self,
        phone: str | None,
        text: str,
        *,
        name: str | None = None,
        user_id: str | None = None,
        account_id: str | None = None,
        group_id: str | None = None,
        quotes: str | None = None,
    ) -> str:
        """A customer writes; the id of their message. `phone` is None for users of a username."""
        item: JsonObject = {"type": "text", "text": {"body": text}}
        if quotes is not None:
            item["context"] = {"id": quotes}
        if group_id is not None:
            item["group_id"] = group_id
        return self.customer_sends(phone, item, name=name, user_id=user_id, account_id=account_id)

    def customer_sends_file(
        self,
        phone: str,
        kind: str,
        data: bytes,
        mime_type: str,
        *,
        account_id: str | None = None,
        **more: Any,
    ) -> str:
        """A customer sends a file; `more` is what else stands beside it, as a caption does."""
        account = account_id or next(iter(self._accounts))
        file = sent_file(self.media.add(account, data, mime_type), **more)
        return self.customer_sends(phone, {"type": kind, kind: file}, account_id=account_id)

    def customer_sends(
        self,
        phone: str | None,
        item: JsonObject,
        *,
        name: str | None = None,
        user_id: str | None = None,
        account_id: str | None = None,
    ) -> str:
        """A customer sends anything at all: `item` is what Meta would put into `messages`."""
        account = self._accounts[account_id] if account_id else next(iter(self._accounts.values()))
        customer = phone or user_id
        if customer is None:
            raise ValueError("A customer has a telephone number, a user id, or both.")
        at = self._now()
        platform_id = new_wamid(self._random, customer, inbound=True)
        sender = {"from": phone, "from_user_id": user_id}
        whole = {
            **{key: value for key, value in sender.items() if value is not None},
            "id": platform_id,
            "timestamp": str(int(at.timestamp())),
            **item,
        }
        for each in (phone, user_id, item.get("group_id")):
            if each is not None:
                self._windows.open(account.phone_number_id, each, at)
        contact = self._contact(phone, user_id, name)
        self._post(envelope(account, "messages", contacts=[contact], messages=[whole]))
        return platform_id

    def _contact(self, phone: str | None, user_id: str | None, name: str | None) -> JsonObject:
        known = self._contacts.get(phone or "") or self._contacts.get(user_id or "") or {}
        given = {"profile": {"name": name} if name else None, "wa_id": phone, "user_id": user_id}
        contact = known | {key: value for key, value in given.items() if value is not None}
        self._contacts.update((key, contact) for key in (phone, user_id) if key is not None)
        return contact

    # What it answers.

    def answer(self, request: Request) -> Answer:
        """What Graph answers."""
        if len(request.body) > BODY_BYTES_MAX and not request.path.endswith("/media"):
            return Answer(status=413)
        try:
            if "/attachments/" in request.path:
                return self._download(request)
            return json_answer(self._answer(request))
        except GraphRefusal as refusal:
            return refusal_answer(refusal)

    def _answer(self, request: Request) -> JsonObject:
        match (request.method, *request.path.strip("/").split("/")):
            case ("GET", _, media_id) if media_id in self.media.files:
                self._authorised(request, self.media.files[media_id].account_id)
                return self.media.about(media_id, self.base_url, self._now())
            case ("GET", _, account_id):
                return self._about(self._authorised(request, account_id))
            case ("POST", _, account_id, "media"):
                account = self._authorised(request, account_id)
                return self.media.take_upload(
                    account.phone_number_id, request.headers, request.body
                )
            case ("POST", _, account_id, "messages"):
                return self._take(self._authorised(request, account_id), read_json(request.body))
            case _:
                raise GraphRefusal(2500, "Unknown path components.")

    def _download(self, request: Request) -> Answer:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not any(token == account.access_token for account in self._accounts.values()):
            return Answer(status=401)
        return self.media.download(request.path.rpartition("/")[2], self._now())

    def _authorised(self, request: Request, account_id: str) -> FakeAccount:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not any(token == account.access_token for account in self._accounts.values()):
            raise GraphRefusal(190, "The access token could not be decrypted")
        account = self._accounts.get(account_id)
        if account is None or account.access_token != token:
            raise GraphRefusal(100, f"Object with ID '{account_id}' does not exist.", subcode=33)
        return account

    def _about(self, account: FakeAccount) -> JsonObject:
        return {
            "id": account.phone_number_id,
            "display_phone_number": account.display_phone_number,
            "verified_name": account.verified_name,
        }

    def _take(self, account: FakeAccount, document: Any) -> JsonObject:
        if isinstance(document, dict) and document.get("status") == "read":
            self.read.append((account.phone_number_id, str(document.get("message_id"))))
            return {"success": True}
        body = check_message(document)
        self._check_file(body)
        to = body["to"].removeprefix("+") if "to" in body else body["recipient"]
        at = self._now()
        failure = self._window_failure(account, body, to, at)
        if failure is not None and self._window_errors == "answer":
            raise failure
        if self._pair_limit is not None:
            self._pair_limit.take(account.phone_number_id, to, at)
        platform_id = new_wamid(self._random, to, inbound=False)
        self.accepted.append(_accepted(account, platform_id, to, body, at))
        plan = self.plan
        if failure is not None:
            plan = StatusPlan(statuses=("failed",), failure_code=failure.code)
        self._post_statuses(account, platform_id, to, body, plan)
        input_name = "wa_id" if "to" in body else "user_id"
        return {
            "messaging_product": "whatsapp",
            "contacts": [{"input": body.get("to", to), input_name: to}],
            "messages": [{"id": platform_id, "message_status": "accepted"}],
        }

    def _check_file(self, body: JsonObject) -> None:
        kind = body.get("type", "text")
        media_id = body[kind].get("id") if kind in MEDIA_TYPES else None
        if media_id is not None and media_id not in self.media.files:
            raise GraphRefusal(131009, f"There is no media with the id {media_id}.")

    def _window_failure(
        self, account: FakeAccount, body: JsonObject, to: str, at: datetime
    ) -> GraphRefusal | None:
        if not self._has_window or body.get("type") == "template":
            return None
        try:
            self._windows.check(account.phone_number_id, to, at)
        except GraphRefusal as refusal:
            return refusal
        return None

    def _post_statuses(
        self, account: FakeAccount, platform_id: str, to: str, body: JsonObject, plan: StatusPlan
    ) -> None:
        contact = self._contacts.get(to)
        for after_seconds, status in plan.schedule(self._random):
            item = status_item(
                status,
                platform_id=platform_id,
                sent=body,
                at=self._now(),
                failure_code=plan.failure_code,
            )
            value: JsonObject = {"statuses": [item]}
            if contact is not None and status != "failed":
                value["contacts"] = [contact]
            for each in self._for_members(to, item):
                document = envelope(account, "messages", **(value | {"statuses": [each]}))
                self._post(document, after_seconds=after_seconds)

    def _post(self, document: JsonObject, *, after_seconds: float = 0.0) -> None:
        self._courier.post(as_meta_writes(document), after_seconds=after_seconds)

    def _for_members(self, to: str, item: JsonObject) -> list[JsonObject]:
        """A group gives one status for each member."""
        members = self.groups.get(to)
        if members is None:
            return [item]
        return [item | {"recipient_participant_id": member} for member in members]


def _accepted(
    account: FakeAccount, platform_id: str, to: str, body: JsonObject, at: datetime
) -> AcceptedSend:
    kind = body.get("type", "text")
    return AcceptedSend(
        account_id=account.phone_number_id,
        platform_id=platform_id,
        to=to,
        kind=kind,
        text=body["text"]["body"] if kind == "text" else None,
        mark=body.get("biz_opaque_callback_data"),
        at=at,
        body=body,
    )

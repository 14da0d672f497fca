"""A WeChat to develop against: it behaves like the official accounts' API, and fails on demand.

async with FakeWeChat(webhook_url="http://127.0.0.1:8000/webhooks/wechat") as fake:
    fake.base_url                       # For TRUNKLINE_WECHAT_API_BASE.
    fake.customer_says("oQk8…", "你好")
    fake.next_requests(fails(45047), accepts_then_drops())
    await fake.settled()
    fake.accepted                       # Every message it took, doubles included.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from adapters.fakes.courier import Courier
from adapters.fakes.fake import AcceptedSend, Fake
from adapters.fakes.forms import File, read_form
from adapters.fakes.server import Answer, Request, json_answer, read_json
from adapters.wechat.document import read_strictly
from adapters.wechat.fake_rules import (
    MESSAGE_COUNT_MAX,
    TEXT_BYTES_MAX,
    TOKEN_LIFETIME,
    Allowance,
    FakeOfficialAccount,
    JsonObject,
    TokenDesk,
    WeChatRefusal,
)
from adapters.wechat.fake_webhooks import query, written

# WeChat waits five seconds for an answer and between tries, and tries three times in all.
RETRY_DELAYS_SECONDS = (0.05, 0.05)
ANSWER_SECONDS_MAX = 5.0

ECHO = "4375120948345356249"

# What opens a window of a minute.
ACTIONS = ("subscribe", "CLICK", "SCAN")

MESSAGE_TYPES = ("text", "image", "voice", "video")
MEDIA_TYPES = ("image", "voice", "video")

# Videos are elsewhere; `media/get` says where.
VIDEO_PATH = "/videos/"


class FakeWeChat(Fake):
    """The fake, running between `async with` and its end.

    `window` switches the rules of 48 hours and of `count_max` messages on. `ip_allowed` is
    whether our address stands in the accounts' lists. `blocked` take no messages.
    """

    SENDS = "/message/"

    def __init__(
        self,
        *,
        accounts: Sequence[FakeOfficialAccount] = (FakeOfficialAccount(),),
        webhook_url: str | None = None,
        window: bool = False,
        count_max: int = MESSAGE_COUNT_MAX,
        token_lifetime: timedelta = TOKEN_LIFETIME,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
        port: int = 0,
    ) -> None:
        """Webhooks go to `webhook_url`, a slash and the account's id."""
        self.ip_allowed = True
        self.blocked: set[str] = set()
        self.uploads: dict[str, File] = {}  # By media id; customers' own among them.
        self._accounts = {account.account_id: account for account in accounts}
        self._allowance = Allowance(count_max=count_max) if window else None
        self._now = now
        self._random = Random(seed)  # noqa: S311 - A plan that can be repeated, not a secret.
        self._desks = {
            account.app_id: TokenDesk(self._random, lifetime=token_lifetime) for account in accounts
        }
        courier = Courier(
            webhook_url=webhook_url,
            sign=lambda _: {"Content-Type": "text/xml"},
            query=self._query,
            retry_delays_seconds=retry_delays_seconds,
            answer_seconds_max=ANSWER_SECONDS_MAX,
        )
        super().__init__(courier, port=port)

    # What a test or a demo does to it.

    async def register_webhook(self, webhook_url: str, *, account_id: str | None = None) -> bool:
        """WeChat's handshake; the address is used from now on if it answers well."""
        account = self._account(account_id)
        asked = query(account, b"", at=self._now()) | {"echostr": ECHO}
        address = f"{webhook_url}/{account.account_id}"
        is_registered = await self._courier.register(address, asked, expected=ECHO)
        if is_registered:
            self._courier.webhook_url = webhook_url
        return is_registered

    def customer_says(self, customer: str, text: str, *, account_id: str | None = None) -> str:
        """A customer writes; the id of their message."""
        return self.customer_sends(customer, account_id=account_id, MsgType="text", Content=text)

    def customer_sends(
        self, customer: str, *, account_id: str | None = None, **fields: str | int
    ) -> str:
        """A customer sends anything at all: `fields` are as WeChat writes them."""
        account, message_id = self._account(account_id), self._random.getrandbits(62)
        if self._allowance is not None:
            self._allowance.message(account.account_id, customer, self._now())
        self._post(account, customer, {**fields, "MsgId": message_id})
        return str(message_id)

    def customer_sends_file(
        self, customer: str, kind: str, file: File, *, account_id: str | None = None
    ) -> str:
        """A customer sends a picture, a sound (`voice`) or a video; the id of their message."""
        media_id = self._new_file(file)
        return self.customer_sends(customer, account_id=account_id, MsgType=kind, MediaId=media_id)

    def customer_does(
        self, customer: str, event: str, *, account_id: str | None = None, **fields: str | int
    ) -> None:
        """A customer follows (`subscribe`), presses a button (`CLICK`), scans and so on."""
        account = self._account(account_id)
        if self._allowance is not None and event in ACTIONS:
            self._allowance.action(account.account_id, customer, self._now())
        if self._allowance is not None and event == "unsubscribe":
            self._allowance.end(account.account_id, customer)
        self._post(account, customer, {"MsgType": "event", "Event": event, **fields})

    def end_token(self, *, account_id: str | None = None, is_handed_out: bool = False) -> None:
        """The present token is refused from now on, because somebody has demanded another.

        With `is_handed_out` it is handed out all the same until another one is demanded.
        """
        desk = self._desks[self._account(account_id).app_id]
        if is_handed_out:
            desk.spoil()
        else:
            desk.replace(self._now())

    @property
    def token_requests(self) -> list[JsonObject]:
        """What was asked of `stable_token`."""
        asked = [each for each in self.requests if each.path.endswith("/stable_token")]
        return [read_json(each.body) for each in asked]

    # What it answers.

    def answer(self, request: Request) -> Answer:
        """What WeChat answers."""
        video = self.uploads.get(request.path.removeprefix(VIDEO_PATH))
        if video is not None:
            return _file_answer(video)
        try:
            if request.path == "/cgi-bin/media/get":
                return self._give_out(request)
            return json_answer(self._answer(request))
        except WeChatRefusal as refusal:
            return json_answer(refusal.body())

    def _answer(self, request: Request) -> JsonObject:
        match request.path.partition("/cgi-bin/")[2]:
            case "stable_token":
                return self._hand_out(read_json(request.body))
            case "message/custom/send":
                return self._take(self._authorised(request), request.body)
            case "message/template/send":
                return self._take_template(self._authorised(request), request.body)
            case "media/upload":
                self._authorised(request)
                return self._keep(request)
            case _:
                raise WeChatRefusal(48001)

    def _hand_out(self, asked: Any) -> JsonObject:
        named = asked.get("appid") if isinstance(asked, dict) else None
        account = next((each for each in self._accounts.values() if each.app_id == named), None)
        if account is None:
            raise WeChatRefusal(40013)
        if asked.get("secret") != account.app_secret:
            raise WeChatRefusal(40125)
        if not self.ip_allowed:
            raise WeChatRefusal(40164)
        demanded = asked.get("force_refresh") is True
        return self._desks[account.app_id].hand_out(self._now(), demanded=demanded)

    def _authorised(self, request: Request) -> FakeOfficialAccount:
        token, refusal = request.query.get("access_token", ""), WeChatRefusal(40001)
        for account in self._accounts.values():
            try:
                self._desks[account.app_id].check(token, self._now())
            except WeChatRefusal as error:
                refusal = error if error.code == 42001 else refusal
            else:
                return account
        raise refusal

    def _take(self, account: FakeOfficialAccount, content: bytes) -> JsonObject:
        if b"\\u" in content:
            raise WeChatRefusal(40033)
        body = read_json(content)
        kind = str(body.get("msgtype")) if isinstance(body, dict) else ""
        part = body.get(kind) if kind in MESSAGE_TYPES else None
        if not isinstance(part, dict) or not isinstance(body.get("touser"), str):
            raise WeChatRefusal(40008)
        if kind == "text" and len(part.get("content", "").encode()) > TEXT_BYTES_MAX:
            raise WeChatRefusal(45002)
        if kind != "text" and part.get("media_id") not in self.uploads:
            raise WeChatRefusal(40007)
        self._require_reachable(account, body["touser"])
        self._accept(account, kind, body, text=part.get("content"))
        return {"errcode": 0, "errmsg": "ok"}

    def _take_template(self, account: FakeOfficialAccount, content: bytes) -> JsonObject:
        body = read_json(content)
        if not isinstance(body, dict) or not isinstance(body.get("touser"), str):
            raise WeChatRefusal(47001)
        if body["touser"] in self.blocked:
            raise WeChatRefusal(43004)
        message_id = self._random.getrandbits(31)
        self._accept(account, "template", body, text=None, platform_id=str(message_id))
        self.customer_does(
            body["touser"],
            "TEMPLATESENDJOBFINISH",
            account_id=account.account_id,
            MsgID=message_id,
            Status="success",
        )
        return {"errcode": 0, "errmsg": "ok", "msgid": message_id}

    def _require_reachable(self, account: FakeOfficialAccount, customer: str) -> None:
        if customer in self.blocked:
            raise WeChatRefusal(43019)
        if self._allowance is not None:
            self._allowance.take(account.account_id, customer, self._now())

    def _accept(
        self,
        account: FakeOfficialAccount,
        kind: str,
        body: JsonObject,
        *,
        text: str | None,
        platform_id: str = "",
    ) -> None:
        """Messages to customers have no id, and no place for ours."""
        self.accepted.append(
            AcceptedSend(
                account_id=account.account_id,
                platform_id=platform_id,
                to=body["touser"],
                kind=kind,
                text=text,
                mark=None,
                at=self._now(),
                body=body,
            )
        )

    def _keep(self, request: Request) -> JsonObject:
        form, kind = read_form(request), request.query.get("type")
        if kind not in MEDIA_TYPES:
            raise WeChatRefusal(40004)
        if form is None or "media" not in form.files:
            raise WeChatRefusal(41005)
        media_id = self._new_file(form.files["media"])
        return {"type": kind, "media_id": media_id, "created_at": int(self._now().timestamp())}

    def _new_file(self, file: File) -> str:
        media_id = f"{self._random.getrandbits(256):064x}"
        self.uploads[media_id] = file
        return media_id

    def _give_out(self, request: Request) -> Answer:
        self._authorised(request)
        media_id = request.query.get("media_id", "")
        if media_id not in self.uploads:
            raise WeChatRefusal(40007)
        file = self.uploads[media_id]
        if file.mime_type.startswith("video/"):
            return json_answer({"video_url": f"{self.base_url}{VIDEO_PATH}{media_id}"})
        return _file_answer(file)

    # Webhooks.

    def _post(
        self, account: FakeOfficialAccount, customer: str, fields: dict[str, str | int]
    ) -> None:
        whole = {
            "ToUserName": account.account_id,
            "FromUserName": customer,
            "CreateTime": int(self._now().timestamp()),
            **fields,
        }
        self._courier.post(written(account, whole), path=f"/{account.account_id}")

    def _query(self, body: bytes) -> dict[str, str]:
        account = self._accounts[str(read_strictly(body)["ToUserName"])]
        return query(account, body, at=self._now())

    def _account(self, account_id: str | None) -> FakeOfficialAccount:
        return self._accounts[account_id] if account_id else next(iter(self._accounts.values()))


def _file_answer(file: File) -> Answer:
    return Answer(body=file.content, headers=(("Content-Type", file.mime_type),))

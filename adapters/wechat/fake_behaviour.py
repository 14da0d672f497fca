"""What WeChat may say to one request to the fake."""

from adapters.fakes.behaviour import Behaviour
from adapters.fakes.server import json_answer
from adapters.wechat.fake_rules import WeChatRefusal


def fails(code: int) -> Behaviour:
    """Refuse with a code, and HTTP status 200."""
    return lambda _: json_answer(WeChatRefusal(code).body())


def limits(retry_after_seconds: int, *, code: int = 45011) -> Behaviour:
    """Too many calls, and when to come back."""
    headers = {"Retry-After": str(retry_after_seconds)}
    return lambda _: json_answer(WeChatRefusal(code).body(), headers=headers)

"""When a business may write: each platform's rule as data, by name and version (N1)."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

# A platform's clock may be ahead of ours by this much before we stop believing it (C0).
CLOCK_AHEAD_MAX = timedelta(minutes=5)

# How long a template stays in the queue while the platform does not take it (N3).
TEMPLATE_LIFETIME = timedelta(hours=24)


class WindowRule(msgspec.Struct, frozen=True, kw_only=True):
    """How long after the customer's last message a free-form message may be sent."""

    name: str
    length: timedelta | None  # None: no window, but only customers who wrote first.
    business_may_start: bool  # With an approved template.


WINDOW_RULES: Mapping[str, WindowRule] = {
    rule.name: rule
    for rule in (
        WindowRule(name="whatsapp/1", length=timedelta(hours=24), business_may_start=True),
        WindowRule(name="messenger/1", length=timedelta(hours=24), business_may_start=False),
        WindowRule(name="line/1", length=None, business_may_start=False),
        WindowRule(name="telegram/1", length=None, business_may_start=False),
        WindowRule(name="wechat/1", length=timedelta(hours=48), business_may_start=False),
    )
}

DEFAULT_WINDOW_RULES: Mapping[str, str] = {
    "whatsapp": "whatsapp/1",
    "messenger": "messenger/1",
    "line": "line/1",
    "telegram": "telegram/1",
    "wechat": "wechat/1",
}


def window_rule(platform: str) -> WindowRule:
    """The rule that holds for a platform today."""
    return WINDOW_RULES[DEFAULT_WINDOW_RULES[platform]]


def believed_time(platform_time: datetime | None, *, received_at: datetime) -> datetime:
    """The time a message counts from: the platform's, unless it lies too far ahead. Spec C0."""
    if platform_time is None or platform_time > received_at + CLOCK_AHEAD_MAX:
        return received_at
    return platform_time


def closes_at(rule: WindowRule, last_customer_message_at: datetime | None) -> datetime | None:
    """When the window closes; None where it never does or never opened. Half open: C0."""
    if rule.length is None or last_customer_message_at is None:
        return None
    return last_customer_message_at + rule.length


def is_open(rule: WindowRule, last_customer_message_at: datetime | None, *, now: datetime) -> bool:
    """Whether a free-form message may be sent now. At exactly the end it may not. Spec C0, N1."""
    if last_customer_message_at is None:
        return False
    end = closes_at(rule, last_customer_message_at)
    return end is None or now < end

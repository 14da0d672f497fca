"""When a business may write: each platform's rule as data, by name and version (N1)."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

# A platform's clock may be ahead of ours by this much before we stop believing it (C0).
CLOCK_AHEAD_MAX = timedelta(minutes=5)

# How long what has no window stays in the queue while the platform does not take it (N3).
TEMPLATE_LIFETIME = timedelta(hours=24)


# What a person wrote may leave after the window where a rule says so, under this name.
HUMAN_AGENT = "HUMAN_AGENT"


# What opens the window beside a message, by platform: kinds of occurrences, and our words.
OPENED_BY: Mapping[str, Mapping[str, str]] = {
    "messenger": {"message.reaction": "reaction", "contact.referral": "referral"},
}


class WindowRule(msgspec.Struct, frozen=True, kw_only=True):
    """How long after the customer's last message, and how often, one may write freely."""

    name: str
    platform: str
    length: timedelta | None  # None: no window, but only customers who wrote first.
    human_length: timedelta | None = None  # Longer, for what a person writes, with a tag.
    replies_max: int | None = None  # In the window, until the customer writes again.
    monthly_max: int | None = None  # After it, for each customer and calendar month (UTC).
    business_may_start: bool = False  # With an approved template.


DAY = timedelta(hours=24)

WINDOW_RULES: Mapping[str, WindowRule] = {
    rule.name: rule
    for rule in (
        WindowRule(name="whatsapp/1", platform="whatsapp", length=DAY, business_may_start=True),
        WindowRule(name="messenger/1", platform="messenger", length=DAY),
        WindowRule(
            name="messenger/human-agent", platform="messenger", length=DAY, human_length=7 * DAY
        ),
        WindowRule(name="line/1", platform="line", length=None),
        WindowRule(name="telegram/1", platform="telegram", length=None),
        WindowRule(name="wechat/1", platform="wechat", length=2 * DAY, monthly_max=4),
        WindowRule(name="wechat/2023-06", platform="wechat", length=2 * DAY, replies_max=5),
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
    """The rule that holds for a platform where nobody has chosen another."""
    return WINDOW_RULES[DEFAULT_WINDOW_RULES[platform]]


def is_selectable(platform: str) -> bool:
    """Whether there is more than one rule for the platform."""
    return sum(rule.platform == platform for rule in WINDOW_RULES.values()) > 1


def believed_time(platform_time: datetime | None, *, received_at: datetime) -> datetime:
    """The time a message counts from: the platform's, unless it lies too far ahead. Spec C0."""
    if platform_time is None or platform_time > received_at + CLOCK_AHEAD_MAX:
        return received_at
    return platform_time


def closes_at(
    rule: WindowRule, last_customer_message_at: datetime | None, *, for_people: bool = False
) -> datetime | None:
    """When the window closes; None where it never does or never opened. Half open: C0.

    `for_people`: for what a person writes, which some rules let through for longer.
    """
    length = (rule.human_length if for_people else None) or rule.length
    if length is None or last_customer_message_at is None:
        return None
    return last_customer_message_at + length


def is_open(
    rule: WindowRule,
    last_customer_message_at: datetime | None,
    *,
    now: datetime,
    for_people: bool = False,
) -> bool:
    """Whether a free-form message may be sent now. At exactly the end it may not. Spec C0, N1."""
    if last_customer_message_at is None:
        return False
    end = closes_at(rule, last_customer_message_at, for_people=for_people)
    return end is None or now < end


def tag_for(
    rule: WindowRule, last_customer_message_at: datetime | None, *, now: datetime
) -> str | None:
    """What a person's message must be marked with to be taken after the usual window."""
    if rule.human_length is None or is_open(rule, last_customer_message_at, now=now):
        return None
    return HUMAN_AGENT

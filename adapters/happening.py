"""What all that one part of a webhook can say has in common, on platforms with one URL an account.

An adapter finds out who it is about and what happened; the occurrences are made here.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from adapters.readers import digest
from domain.inbound import (
    AccountNoticed,
    ActivityOccurred,
    Address,
    AnyOccurrence,
    Condition,
    Content,
    FollowOccurred,
    MessageChanged,
    MessageOccurred,
    NotUnderstood,
    Person,
)

NOBODY = Person(addresses=())


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a webhook: of which account, when, about whom, and its name for ever."""

    account_id: str
    at: datetime | None
    raw: Any
    dedupe: tuple[str, ...] = ()  # Empty where it has no name: that is then made of what it says.
    person: Person = NOBODY
    group: Address | None = None
    group_name: str | None = None
    standby: bool = False  # Another program of the business has the conversation.
    by_business: bool = False  # It did this, and not the customer.

    @property
    def is_about_somebody(self) -> bool:
        """Whether it names a person or a group."""
        return bool(self.person.addresses) or self.group is not None

    @property
    def name(self) -> tuple[str, ...]:
        """Its name for ever. A digest takes as long as all else, so it is made where it is used."""
        return self.dedupe or ("digest", digest(self.account_id, self.raw))

    def named(self, *dedupe: str) -> "Happening":
        """The same under another name for ever."""
        return replace(self, dedupe=dedupe)

    def message(
        self,
        kind: str,
        content: Content,
        *,
        platform_id: str,
        quotes: str | None = None,
        echo: bool = False,
        sent_by_us: str | None = None,
    ) -> AnyOccurrence:
        """A customer's message, or with `echo` one of the business; `kind` without its prefix."""
        if not self.is_about_somebody:
            return self.not_understood()
        prefix = "echo" if echo else "standby" if self.standby else "message"
        return MessageOccurred(
            kind=f"{prefix}.{kind}",
            account_id=self.account_id,
            business_account_id=None,
            at=self.at,
            dedupe=self.name,
            platform_id=platform_id,
            person=self.person,
            content=replace(content, platform_id=platform_id, raw=self.raw, standby=self.standby),
            group=self.group,
            group_name=self.group_name,
            quotes=quotes,
            echo=echo,
            sent_by_us=sent_by_us,
        )

    def change(
        self, kind: str, content: Content | None, *, target: str, echo: bool = False
    ) -> AnyOccurrence:
        """A reaction, an edit or an unsending of the message `target`."""
        if not self.is_about_somebody:
            return self.not_understood()
        if content is not None:
            content = replace(content, raw=self.raw)
        return MessageChanged(
            kind=f"{'echo' if echo else 'message'}.{kind}",
            account_id=self.account_id,
            business_account_id=None,
            at=self.at,
            dedupe=self.name,
            target=target,
            person=self.person,
            content=content,
            group=self.group,
            echo=echo,
        )

    def follow(self, kind: str, *, follows: bool) -> AnyOccurrence:
        """The account may write to them from now on, or may no longer."""
        if not self.is_about_somebody:
            return self.not_understood()
        return FollowOccurred(
            kind=kind,
            account_id=self.account_id,
            business_account_id=None,
            at=self.at,
            dedupe=self.name,
            person=self.person,
            follows=follows,
            group=self.group,
            raw=self.raw,
        )

    def activity(self, kind: str) -> AnyOccurrence:
        """Something that is no message."""
        if not self.is_about_somebody:
            return self.not_understood()
        return ActivityOccurred(
            kind=kind,
            account_id=self.account_id,
            business_account_id=None,
            at=self.at,
            dedupe=self.name,
            person=self.person,
            raw=self.raw,
            group=self.group,
        )

    def account_news(self, kind: str, condition: Condition | None = None) -> AnyOccurrence:
        """Something about the account itself."""
        return AccountNoticed(
            kind=kind,
            account_id=self.account_id,
            business_account_id=None,
            at=self.at,
            dedupe=self.name,
            raw=self.raw,
            condition=condition,
        )

    def not_understood(self) -> AnyOccurrence:
        """Keep it as it came."""
        return NotUnderstood(
            kind="unknown",
            account_id=self.account_id,
            business_account_id=None,
            at=self.at,
            dedupe=self.name,
            raw=self.raw,
            person=self.person if self.person.addresses else None,
        )

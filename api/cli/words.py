"""Events in words, for people who read a history. Nothing sealed is ever opened here."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from domain import (
    account,
    canned,
    channel,
    chat_events,
    chosen_rules,
    contact,
    conversation,
    ledger,
    media,
    organisation,
    purchase,
    read_marking,
    reader,
    template,
    unrouted,
    watermark,
)
from domain.event import Event, Sealed, UndecodedEvent
from domain.pricing import free_because

# A sentence for each kind of event; what a sentence does not need to say stays out of it.
_SENTENCES: dict[type[Event], Callable[[Any], str]] = {
    organisation.OrganisationCreated: lambda e: f"The organisation {e.name} was founded.",
    organisation.ServiceAdded: lambda e: f"The service {e.service} was added ({e.subscription}).",
    organisation.SubscriptionChanged: lambda e: f"{e.service} is {e.subscription} now.",
    organisation.MaskingChanged: lambda e: f"{e.service} masks others' replies: {e.masking}.",
    organisation.ReplyOwnershipChanged: lambda e: (
        f"In {e.service} {'only the owner replies' if e.required else 'everybody may reply'}."
    ),
    organisation.TicketTimerChanged: lambda e: f"{e.service}'s ticket timer: {e.hours} h.",
    organisation.UserAdded: lambda e: f"User {e.added_user_id} was added as {e.role}.",
    organisation.UserRoleChanged: lambda e: f"User {e.changed_user_id} is {e.role} now.",
    organisation.UserServicesChanged: lambda e: (
        f"User {e.changed_user_id} works in {_list(e.services)} now."
    ),
    organisation.UserAwayChanged: lambda e: (
        f"User {e.changed_user_id} is {'away' if e.away else 'back'}."
    ),
    organisation.ApiKeyCreated: lambda e: f"API key {e.key_id} was made for {e.for_user_id}.",
    organisation.ApiKeyRevoked: lambda e: f"API key {e.key_id} was revoked.",
    organisation.ReadMarkingChanged: lambda e: (
        f"{e.service} {'shows' if e.enabled else 'does not show'} customers what was read."
    ),
    account.AccountClaimed: lambda e: f"The {e.platform} account {e.account_id} was claimed.",
    account.ChannelOpened: lambda e: (
        f"Its {'shared' if e.shared else 'separate'} channel {e.channel_id} was opened."
    ),
    account.CredentialsChanged: lambda e: f"Its credentials changed: {_list(e.fields)}.",
    account.AccountVerified: lambda _: "The platform accepts the credentials.",
    account.VerificationFailed: lambda e: f"The platform refuses the credentials: {e.reason}.",
    account.AccountStopped: lambda e: f"The platform takes nothing more: {e.reason}.",
    account.AccountImpaired: lambda e: (
        f"Sending from it is {e.state}: {e.reason}"
        f"{f', until {e.until:%Y-%m-%d %H:%M} UTC' if e.until else ''}."
    ),
    account.AccountResumed: lambda _: "The platform takes messages again.",
    account.AccountUnsubscribed: lambda e: f"The platform delivers nothing any more: {e.reason}.",
    account.AccountResubscribed: lambda _: "The platform had ended its deliveries; they go on.",
    account.AccountReleased: lambda _: "The account was released.",
    account.NoticeReceived: lambda e: f"The platform told of {e.kind}.",
    account.StrayReceiptReceived: lambda e: f"A receipt ({e.status}) for an unknown message.",
    channel.ChannelCreated: lambda e: (
        f"The {'shared' if e.shared else 'separate'} channel {e.name} was created."
    ),
    channel.ConnectionCreated: lambda e: f"{e.service} connected.",
    channel.ConnectionDisabled: lambda e: f"{e.service} was disabled.",
    channel.ConnectionEnabled: lambda e: f"{e.service} was enabled again.",
    channel.ConnectionDeleted: lambda e: f"{e.service}'s connection was deleted.",
    channel.ParentChosen: lambda e: (
        f"{e.chosen or 'Nobody'} became parent by {e.rule} ({e.cause.replace('_', ' ')});"
        f" candidates: {_list(c.service for c in e.candidates)}."
    ),
    channel.ChannelRenamed: lambda e: f"The channel is called {e.name} now.",
    channel.ConnectionConfigured: lambda e: f"{e.service} changed its settings.",
    channel.AgentsAssociated: lambda e: f"{e.service} has {len(e.user_ids)} agents here.",
    channel.ChannelReleased: lambda _: "The channel's account was given up.",
    channel.ChannelReclaimed: lambda _: "The channel's account was taken again.",
    chat_events.ChatStarted: lambda e: f"A chat on {e.platform} {e.account_id} began.",
    chat_events.MessageReceived: lambda e: (
        f"The customer sent a message ({e.kind})"
        + (", from an ad or a Page's button." if e.referred else ".")
    ),
    chat_events.EchoReceived: lambda e: f"The business wrote outside of every service ({e.kind}).",
    chat_events.ReactionReceived: lambda e: (
        "A reaction came." if e.content else "A reaction was taken back."
    ),
    chat_events.WindowOpened: lambda e: f"The customer opened the window ({e.by}).",
    chat_events.EditReceived: lambda _: "A message was edited.",
    chat_events.UnsendReceived: lambda _: "A message was unsent.",
    chat_events.ReplyRequested: lambda e: f"{e.service} wrote ({e.kind}), message {e.message_id}.",
    chat_events.SendStarted: lambda e: f"Sending {e.message_id} began (attempt {e.attempt}).",
    chat_events.SendDeferred: lambda e: f"Sending {e.message_id} waits: {e.reason}.",
    chat_events.MessageSent: lambda e: f"The platform took {e.message_id}.",
    chat_events.SendUncertain: lambda e: f"Whether {e.message_id} was sent is unknown: {e.reason}.",
    chat_events.MessageFailed: lambda e: f"{e.message_id} failed: {e.reason}.",
    chat_events.ReceiptReceived: lambda e: f"A receipt of {e.message_id} came: {e.status}.",
    chat_events.ChatAssigned: lambda e: f"In {e.service} the chat belongs to {e.owner} now.",
    chat_events.ChatUnassigned: lambda e: f"In {e.service} the chat belongs to nobody now.",
    chat_events.ChatClosed: lambda e: f"{e.service} closed the chat.",
    chat_events.ChatOpened: lambda e: f"{e.service} opened the chat.",
    chat_events.CustomerBlocked: lambda e: f"{e.service} blocked the customer.",
    chat_events.CustomerUnblocked: lambda e: f"{e.service} unblocked the customer.",
    media.IconChanged: lambda e: f"The channel's icon is {e.media_id} now.",
    media.MediaStored: lambda e: f"File {e.media_id} of {e.message_id} was fetched.",
    media.MediaUnavailable: lambda e: f"A file of {e.message_id} cannot be had: {e.reason}.",
    media.MediaUploaded: lambda e: (
        f"{e.user_id} put a file here, to be sent by {e.expires_at:%Y-%m-%d %H:%M}."
    ),
    conversation.ConversationStarted: lambda e: (
        f"A {e.category} conversation began, on the bill of {e.business_account}."
    ),
    conversation.MessageCharged: lambda e: f"{e.message_id} has a price of its own.",
    conversation.ChargeVoided: lambda e: f"All that {e.charge_id} was charged for was refused.",
    purchase.PurchaseRequested: lambda e: (
        f"{_purchase(e)} for {usd(e.micro_usd)} was asked for ({e.provider})."
    ),
    purchase.CreditsPurchased: lambda e: (
        f"{_purchase(e)} for {usd(e.micro_usd)} was paid ({e.provider})."
    ),
    purchase.PurchaseDeferred: lambda e: (
        f"Purchase {e.purchase_id} waits after try {e.tries}: {e.reason};"
        f" the next is at {e.retry_at:%Y-%m-%d %H:%M:%S}."
    ),
    purchase.PurchaseFailed: lambda e: (
        f"Purchase {e.purchase_id} failed: {e.reason}."
        + (f" It is asked for anew at {e.retry_at:%Y-%m-%d %H:%M:%S}." if e.retry_at else "")
    ),
    purchase.RechargeLapsed: lambda e: (
        f"The failed recharge {e.purchase_id} is not asked for anew: it is no longer needed."
    ),
    ledger.Charged: lambda e: (
        f"A {e.inputs.category} {e.price.unit} ({e.country or 'country unknown'}) in chat"
        f" {e.chat_id} {_price(e)} by {e.rule} and {e.card}."
    ),
    ledger.ChargeRefunded: lambda e: f"{e.charge_id} was given back: {usd(e.micro_usd)}.",
    ledger.BalanceAdjusted: lambda e: (
        f"The balance was corrected by {usd(e.micro_usd)}: {e.reason}"
    ),
    ledger.AutoRechargeConfigured: lambda e: (
        f"At or under {e.threshold_credits} credits, {e.credits} are bought by themselves."
        if e.enabled
        else "No credits are bought by themselves."
    ),
    chosen_rules.PricingChosen: lambda e: (
        f"{e.business_account or 'Every account'} is priced by {e.rule} and {e.card.name}"
        f" from {e.effective_from:%Y-%m-%d %H:%M} on."
    ),
    chosen_rules.WindowChosen: lambda e: (
        f"Customers of {e.account_id or 'every account'} are written to by {e.rule}"
        f" from {e.effective_from:%Y-%m-%d %H:%M} on."
    ),
    contact.ContactCreated: lambda e: "A group was met." if e.group else "A customer was met.",
    contact.AddressAdded: lambda e: f"An address ({e.kind}) leads to them now.",
    contact.AddressRemoved: lambda _: "An address leads to them no longer.",
    contact.ContactNamed: lambda _: "The platform told their name.",
    contact.ContactChatStarted: lambda e: f"Their chat on {e.account} is {e.chat_id}.",
    contact.MarketingPreferenceChanged: lambda e: (
        f"They {'want' if e.wants_marketing else 'do not want'} marketing from {e.account}."
    ),
    contact.MarketingLimited: lambda e: f"They were sent enough marketing, says {e.account}.",
    contact.FollowChanged: lambda e: (
        f"{e.account} may write to them{'' if e.follows else ' no longer'}."
    ),
    contact.ActivityReceived: lambda e: f"They did something on {e.account} ({e.kind}).",
    watermark.WatermarkRaised: lambda e: f"All up to {e.up_to:%Y-%m-%d %H:%M:%S} is {e.status}.",
    watermark.MessageDated: lambda e: f"A message was sent at {e.at:%Y-%m-%d %H:%M:%S}.",
    read_marking.ReadMarkingRequested: lambda e: (
        f"{e.user_id} saw the chat in {e.service}: its newest message is to be marked as read."
    ),
    read_marking.ReadMarkingEnded: lambda e: f"Marking as read is over: {e.outcome}.",
    reader.ServiceVisited: lambda e: f"{e.user_id} saw everything in {e.service}.",
    reader.ChatVisited: lambda e: f"{e.user_id} saw everything in chat {e.chat_id}.",
    template.TemplateDefined: lambda e: f"Template {e.name}/{e.language} is {e.state}.",
    template.TemplateStateChanged: lambda e: f"Template {e.name}/{e.language} is {e.state} now.",
    template.TemplateCategoryChanged: lambda e: (
        f"Template {e.name}/{e.language} counts as {e.category} now."
    ),
    canned.CannedReplyDefined: lambda e: f"#{e.shortcut} stands for a canned reply.",
    canned.CannedReplyRemoved: lambda e: f"#{e.shortcut} stands for nothing any more.",
    unrouted.DeliveryKept: lambda _: "A delivery for an account that nobody holds was kept.",
    unrouted.DeliveriesHandedOver: lambda e: f"{e.count} deliveries went to {e.organisation_id}.",
    UndecodedEvent: lambda e: f"{e.type}/{e.version}: a newer Trunkline knows what that is.",
}


def usd(micro_usd: int, *, places: int = 2) -> str:
    """Money to the last micro-dollar, with so many decimal places at least."""
    whole, micro = divmod(abs(micro_usd), 1_000_000)
    decimals = f"{micro:06}".rstrip("0").ljust(places, "0")
    return f"{'-' if micro_usd < 0 else ''}USD {whole:,}.{decimals}"


def usd_column(amounts: Sequence[int]) -> list[str]:
    """Amounts that stand under each other: all with as many decimal places as one needs."""
    places = max((len(usd(each).rpartition(".")[2]) for each in amounts), default=2)
    return [usd(each, places=places) for each in amounts]


def _price(charged: ledger.Charged) -> str:
    match free_because(charged.inputs, charged.price):
        case "allowance":
            return "was free, within the month's allowance,"
        case "entry_point":
            return "was free, after an ad or a Page's button,"
        case None:
            return f"cost {usd(charged.price.micro_usd)}"


def _purchase(event: purchase.PurchaseRequested | purchase.CreditsPurchased) -> str:
    what = "recharge" if event.recharge else "purchase"
    return f"A {what} of {event.credits} credit{'' if event.credits == 1 else 's'}"


class Messages:
    """Whose keys receipts name: messages that came before them in the same chat."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, str] = {}

    def named(self, event: Event) -> Event:
        """A receipt with the id of its message, if it has been met; others as they are."""
        if isinstance(event, chat_events.ReceiptReceived):
            message_id = event.message_id or self._by_key.get(event.key, "an unknown message")
            return msgspec.structs.replace(event, message_id=message_id)
        if isinstance(event, chat_events.MessageSent | chat_events.EchoReceived) and event.key:
            self._by_key[event.key] = event.message_id
        return event


def sentence(event: Event) -> str:
    """What happened, in a sentence."""
    words = _SENTENCES.get(type(event))
    return words(event) if words else f"{event.stored_type}."


def without_sealed(value: Any) -> Any:
    """Plain data of an event or state, in which sealed parts only say that they are."""
    if isinstance(value, Sealed):
        return {"sealed": True}
    if isinstance(value, msgspec.Struct):
        return {name: without_sealed(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {_key(key): without_sealed(member) for key, member in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        members = [without_sealed(member) for member in value]
        return sorted(members) if isinstance(value, frozenset | set) else members
    return msgspec.to_builtins(value)


def _key(key: Any) -> str:
    if isinstance(key, tuple):
        return "/".join(map(str, key))
    return str(msgspec.to_builtins(key))


def _list(names: Any) -> str:
    return ", ".join(names) or "nobody"

"""What each file in tests/stored_events says. A sample never changes: its like is in the logs."""

from base64 import b64decode
from datetime import UTC, date, datetime

from domain.account import (
    AccountClaimed,
    AccountImpaired,
    AccountReleased,
    AccountResubscribed,
    AccountResumed,
    AccountStopped,
    AccountUnsubscribed,
    AccountVerified,
    ChannelOpened,
    CredentialsChanged,
    NoticeReceived,
    StrayReceiptReceived,
    VerificationFailed,
)
from domain.canned import CannedReplyDefined, CannedReplyRemoved
from domain.channel import (
    AgentsAssociated,
    ChannelCreated,
    ChannelReclaimed,
    ChannelReleased,
    ChannelRenamed,
    ConnectionConfigured,
    ConnectionCreated,
    ConnectionDeleted,
    ConnectionDisabled,
    ConnectionEnabled,
    ParentChosen,
)
from domain.chat_events import (
    ChatAssigned,
    ChatClosed,
    ChatOpened,
    ChatStarted,
    ChatUnassigned,
    CustomerBlocked,
    CustomerUnblocked,
    EchoReceived,
    EditReceived,
    MessageFailed,
    MessageReceived,
    MessageSent,
    ReactionReceived,
    ReceiptReceived,
    ReplyRequested,
    SendDeferred,
    SendStarted,
    SendUncertain,
    UnsendReceived,
    WindowOpened,
)
from domain.chosen_rules import PricingChosen, WindowChosen
from domain.contact import (
    ActivityReceived,
    AddressAdded,
    AddressRemoved,
    ContactChatStarted,
    ContactCreated,
    ContactNamed,
    FollowChanged,
    MarketingLimited,
    MarketingPreferenceChanged,
)
from domain.conversation import ChargeVoided, ConversationStarted, MessageCharged
from domain.event import Event, Sealed
from domain.ledger import (
    AutoRechargeConfigured,
    BalanceAdjusted,
    Charge,
    Charged,
    ChargeRefunded,
)
from domain.media import IconChanged, MediaStored, MediaUnavailable, MediaUploaded
from domain.organisation import (
    ApiKeyCreated,
    ApiKeyRevoked,
    MaskingChanged,
    OrganisationCreated,
    ReadMarkingChanged,
    ReplyOwnershipChanged,
    ServiceAdded,
    SubscriptionChanged,
    TicketTimerChanged,
    UserAdded,
    UserAwayChanged,
    UserRoleChanged,
    UserServicesChanged,
)
from domain.parent import Candidate
from domain.pricing import Inputs, Price
from domain.purchase import (
    CreditsPurchased,
    PurchaseDeferred,
    PurchaseFailed,
    PurchaseRequested,
    RechargeLapsed,
)
from domain.rate_card import Rate, RateCard
from domain.read_marking import ReadMarkingEnded, ReadMarkingRequested
from domain.reader import ChatVisited, ServiceVisited
from domain.template import TemplateCategoryChanged, TemplateDefined, TemplateStateChanged
from domain.unrouted import DeliveriesHandedOver, DeliveryKept
from domain.watermark import MessageDated, WatermarkRaised

ORGANISATION = "3eaz74raur77r7ezval6mxpnsi"
ADMIN = "rruxnznviecblppjbc6u33qv34"
ANN = "jgiv4dl5jnac4max2ailyhaoqm"
BOB = "23vy45qor4c7ihop6m6immidre"
CHANNEL = "nhrwk2gnrndfsoe3t7h34elhkq"
CONTACT = "be7h2x63vlh2sjciqynrcb23h4"
MEMBER = "4mnlmq6ej55a5sbewwordfgwbu"
CHAT = "ghqg67mj724zudtmbl76dgdurq"
MESSAGE = "vnjque7elekjqk3z7g36h65jsq"
REPLY = "k6bldbuh43hyusbpymws3nnrsy"
RETRY = "a2zjxmyyqfaqr2kcobji7z4zjq"
ECHO = "bewht2hybzkz4qclz5tayshtki"
PURCHASE = "t5nqkz2mwyhb6d4f3xlcr7vgoe"
WABA = "102290129340398"
API_KEY = "qf2atfuhujtcd5hczxl4ya5t3i"
MEDIA = "u3pmkd5vqz7wcx2rjyhf4ntbae"
DELIVERY = "wsxttvnwlikijhuilkowl4hp4q"

AT = datetime(2026, 3, 1, 9, 30, 15, 250_000, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 18, 5, 0, 1, tzinfo=UTC)

# Keyed hashes: of messages 16 bytes, of addresses and names 32.
ADDRESS = "9f1c3b0a6d58e7f24c1b8a09d3e6f57241c0b9a8d7e6f5c4b3a29180706f5e4d"
MESSAGE_KEY = b64decode("kq3S0Y1b9v8cWl5uD2ZtNQ==")
REPLY_KEY = b64decode("/+7dzLuqmYh3ZlVEMyIRAA==")
PHONE_KEY = b64decode("Zk0v3mJQ1yP8cTnUe6xH4bW9aDqLr2sG5oKiYVpXh7E=")
NAME_KEY = b64decode("b1Qn8WcY3tRzL5vKx0JmHfUe2aGdS7oPi4NqVyZrT9M=")


def sealed(owner: str) -> Sealed:
    return Sealed(
        key=owner,
        id=b64decode("3q2+7wABAgMEBQYHCAkKCw=="),
        box=b64decode("w6T4m1oZq8JvYkR0sXbLh2dN9uEeG5fPiKtVxCzA7BMjQlWHnSgUrDyOaIp+3/6c"),
    )


OF_CONTACT = sealed(f"contact:{CONTACT}")
OF_USER = sealed(f"user:{ANN}")
OF_DELIVERY = sealed(f"delivery:{DELIVERY}")

# One of every event class and schema version, every field given.
SAMPLES: dict[tuple[str, int], Event] = {
    ("account.claimed", 1): AccountClaimed(
        platform="whatsapp",
        account_id="106540352242922",
        business_account_id="102290129340398",
        user_id=ADMIN,
    ),
    ("account.channel_opened", 1): ChannelOpened(channel_id=CHANNEL, shared=True, service="crm"),
    ("account.credentials_changed", 1): CredentialsChanged(fields=("access_token",), user_id=ADMIN),
    ("account.verified", 1): AccountVerified(),
    ("account.verification_failed", 1): VerificationFailed(
        reason="The token lacks the permission whatsapp_business_messaging."
    ),
    ("account.stopped", 1): AccountStopped(reason="token", error_code=190),
    ("account.impaired", 1): AccountImpaired(
        state="restricted", reason="disable_scheduled", until=AT
    ),
    ("account.resumed", 1): AccountResumed(),
    ("account.unsubscribed", 1): AccountUnsubscribed(reason="permission"),
    ("account.resubscribed", 1): AccountResubscribed(),
    ("account.released", 1): AccountReleased(user_id=ADMIN),
    ("account.notice_received", 1): NoticeReceived(
        kind="account.quality_update", notice=OF_DELIVERY
    ),
    ("account.receipt_received", 1): StrayReceiptReceived(status="delivered", receipt=OF_DELIVERY),
    ("canned.defined", 1): CannedReplyDefined(
        shortcut="挨拶",
        text="{{customer.name}}様、お問い合わせありがとうございます。",
        user_id=ADMIN,
    ),
    ("canned.removed", 1): CannedReplyRemoved(shortcut="挨拶", user_id=ADMIN),
    ("channel.created", 1): ChannelCreated(
        channel_id=CHANNEL,
        platform="whatsapp",
        account_id="106540352242922",
        shared=True,
        name="カスタマーサポート",
        address="+81 3-1234-5678",
        user_id=ADMIN,
    ),
    ("channel.connection_created", 1): ConnectionCreated(service="crm", user_id=ADMIN),
    ("channel.connection_disabled", 1): ConnectionDisabled(service="desk", user_id=ADMIN),
    ("channel.connection_enabled", 1): ConnectionEnabled(service="desk", user_id=ADMIN),
    ("channel.connection_deleted", 1): ConnectionDeleted(service="crm", user_id=ADMIN),
    ("channel.parent_chosen", 1): ParentChosen(
        kind="parent",
        rule="earliest-created/1",
        cause="succession",
        candidates=(
            Candidate(service="salesiq", created=5, joined=5),
            Candidate(service="desk", created=4, joined=7),
        ),
        chosen="desk",
        previous="crm",
    ),
    ("channel.renamed", 1): ChannelRenamed(name="Support", user_id=ADMIN),
    ("channel.connection_configured", 1): ConnectionConfigured(
        service="desk", department="returns", ticket_timer_hours=48, user_id=ADMIN
    ),
    ("channel.agents_associated", 1): AgentsAssociated(
        service="desk", user_ids=(ANN, BOB), user_id=ADMIN
    ),
    ("channel.released", 1): ChannelReleased(user_id=ADMIN),
    ("channel.reclaimed", 1): ChannelReclaimed(user_id=ADMIN),
    ("chat.started", 1): ChatStarted(
        chat_id=CHAT,
        platform="whatsapp",
        account_id="106540352242922",
        contact_id=CONTACT,
        group=True,
        started_by="crm",
    ),
    ("chat.message_received", 1): MessageReceived(
        message_id=MESSAGE,
        kind="text",
        at=AT,
        content=OF_CONTACT,
        key=MESSAGE_KEY,
        quotes=REPLY_KEY,
        member=MEMBER,
    ),
    ("chat.echo_received", 1): EchoReceived(
        message_id=ECHO,
        kind="image",
        at=AT,
        content=OF_CONTACT,
        key=REPLY_KEY,
        quotes=MESSAGE_KEY,
    ),
    ("chat.reaction_received", 1): ReactionReceived(
        target=REPLY_KEY, at=AT, content=OF_CONTACT, member=MEMBER, echo=True
    ),
    ("chat.window_opened", 1): WindowOpened(at=AT, by="reaction"),
    ("chat.edit_received", 1): EditReceived(
        target=MESSAGE_KEY, at=LATER, content=OF_CONTACT, echo=True
    ),
    ("chat.unsend_received", 1): UnsendReceived(target=MESSAGE_KEY, at=LATER, echo=True),
    ("chat.reply_requested", 1): ReplyRequested(
        message_id=RETRY,
        channel_id=CHANNEL,
        service="crm",
        user_id=ANN,
        kind="template",
        at=AT,
        content=OF_CONTACT,
        template="order_shipped/ja",
        category="utility",
        quotes=MESSAGE_KEY,
        retry_of=REPLY,
    ),
    ("chat.send_started", 1): SendStarted(message_id=REPLY, attempt=2, dispatcher="host-1:4711"),
    ("chat.send_deferred", 1): SendDeferred(
        message_id=REPLY, reason="rate_limited", retry_at=LATER
    ),
    ("chat.message_sent", 1): MessageSent(message_id=REPLY, key=REPLY_KEY, platform=OF_CONTACT),
    ("chat.send_uncertain", 1): SendUncertain(message_id=REPLY, reason="timeout"),
    ("chat.message_failed", 1): MessageFailed(
        message_id=REPLY, reason="undeliverable", error_code=131026, user_id=ANN
    ),
    ("chat.receipt_received", 1): ReceiptReceived(
        key=REPLY_KEY,
        status="failed",
        at=LATER,
        message_id=REPLY,
        participant=PHONE_KEY,
        error_code=131047,
        detail=OF_CONTACT,
    ),
    ("chat.assigned", 1): ChatAssigned(
        service="crm", owner=ANN, at=AT, user_id=ADMIN, previous=BOB
    ),
    ("chat.unassigned", 1): ChatUnassigned(service="crm", previous=ANN, user_id=ADMIN),
    ("chat.closed", 1): ChatClosed(service="crm", user_id=ANN),
    ("chat.opened", 1): ChatOpened(service="crm", user_id=ANN),
    ("chat.blocked", 1): CustomerBlocked(service="crm", user_id=ANN),
    ("chat.unblocked", 1): CustomerUnblocked(service="crm", user_id=ANN),
    ("chat.conversation_started", 1): ConversationStarted(
        conversation_id=REPLY,
        business_account=WABA,
        platform="whatsapp",
        account_id="106540352242922",
        at=AT,
        category="service",
        country="JP",
        charge=Charge(business_account=WABA, micro_usd=8_000, allowance="2026-03"),
    ),
    ("chat.message_charged", 1): MessageCharged(
        message_id=REPLY,
        charge=Charge(business_account=WABA, micro_usd=3_400, allowance="2026-03/106540352242922"),
    ),
    ("chat.charge_voided", 1): ChargeVoided(charge_id=REPLY),
    ("credits.purchase_requested", 1): PurchaseRequested(
        purchase_id=PURCHASE,
        credits=25,
        micro_usd=50_000_000,
        provider="stripe",
        at=AT,
        recharge=True,
        user_id=ADMIN,
    ),
    ("credits.purchased", 1): CreditsPurchased(
        purchase_id=PURCHASE,
        credits=25,
        micro_usd=50_000_000,
        provider="manual",
        at=AT,
        month="2026-03",
        recharge=True,
        user_id=ADMIN,
    ),
    ("credits.purchase_deferred", 1): PurchaseDeferred(
        purchase_id=PURCHASE,
        tries=1,
        reason="processing",
        at=AT,
        retry_at=LATER,
        payment_id="pi_3MtwBwLkdIwHu7ix28a3tqPa",
    ),
    ("credits.recharge_lapsed", 1): RechargeLapsed(purchase_id=PURCHASE, at=LATER),
    ("credits.purchase_failed", 1): PurchaseFailed(
        purchase_id=PURCHASE, reason="card_declined", at=LATER
    ),
    ("credits.charged", 1): Charged(
        charge_id=REPLY,
        chat_id=CHAT,
        conversation_id=REPLY,
        platform="whatsapp",
        account_id="106540352242922",
        service="crm",
        user_id=ANN,
        country="JP",
        at=AT,
        month="2026-03",
        kind="pricing",
        rule="conversation/1",
        card="default/1",
        inputs=Inputs(
            category="service",
            is_template=False,
            in_window=True,
            opens_conversation=True,
            rate_micro_usd=8_000,
            used_by_business=999,
            used_by_account=0,
        ),
        price=Price("conversation", 0, "business"),
    ),
    ("credits.refunded", 1): ChargeRefunded(
        charge_id=REPLY,
        chat_id=CHAT,
        micro_usd=8_000,
        at=LATER,
        month="2026-03",
        allowance="2026-03",
    ),
    ("credits.adjusted", 1): BalanceAdjusted(
        micro_usd=-1_250_000,
        reason="Paid back by bank transfer, receipt 88.",
        at=AT,
        month="2026-03",
        user_id=ADMIN,
    ),
    ("credits.auto_recharge_configured", 1): AutoRechargeConfigured(
        enabled=True, threshold_credits=5, credits=25, service="crm", user_id=ADMIN
    ),
    ("rules.pricing_chosen", 1): PricingChosen(
        rule="service-message/2026-10",
        card=RateCard(
            name="acme/1",
            rates=(
                Rate(country="any", category="any", micro_usd=8_000),
                Rate(
                    country="JP",
                    category="service",
                    micro_usd=3_400,
                    effective_from=date(2026, 10, 1),
                    platform="line",
                ),
            ),
            note="Signed on 1 March.",
        ),
        effective_from=LATER,
        time_zone="Asia/Tokyo",
        business_account=WABA,
        user_id=ADMIN,
    ),
    ("rules.window_chosen", 1): WindowChosen(
        platform="wechat",
        rule="wechat/2023-06",
        effective_from=LATER,
        account_id="gh_3b9c51e0d7a2",
        user_id=ADMIN,
    ),
    ("contact.created", 1): ContactCreated(contact_id=CONTACT, group=True),
    ("contact.address_added", 1): AddressAdded(kind="phone", key=PHONE_KEY, address=OF_CONTACT),
    ("contact.address_removed", 1): AddressRemoved(key=PHONE_KEY),
    ("contact.named", 1): ContactNamed(key=NAME_KEY, profile=OF_CONTACT),
    ("contact.chat_started", 1): ContactChatStarted(
        account="whatsapp:106540352242922", chat_id=CHAT
    ),
    ("contact.marketing_preference_changed", 1): MarketingPreferenceChanged(
        account="whatsapp:106540352242922", wants_marketing=False, at=AT
    ),
    ("contact.marketing_limited", 1): MarketingLimited(account="whatsapp:106540352242922", at=AT),
    ("contact.follow_changed", 1): FollowChanged(
        account="line:U8e742f61d673b39c7fff3cecb7536ef0",
        follows=False,
        at=AT,
        details=OF_CONTACT,
    ),
    ("contact.activity_received", 1): ActivityReceived(
        account="wechat:gh_3b9c51e0d7a2",
        kind="event.scan",
        at=AT,
        details=OF_CONTACT,
        group=MEMBER,
    ),
    ("chat.media_stored", 1): MediaStored(
        message_id=MESSAGE, part=1, media_id=MEDIA, address=ADDRESS, file=OF_CONTACT
    ),
    ("chat.media_unavailable", 1): MediaUnavailable(message_id=MESSAGE, part=0, reason="not_found"),
    ("channel.icon_changed", 1): IconChanged(
        media_id=MEDIA, address=ADDRESS, icon=sealed(f"icon:{MEDIA}"), user_id=ADMIN
    ),
    ("media.uploaded", 1): MediaUploaded(
        media_id=MEDIA,
        user_id=ANN,
        expires_at=LATER,
        address=ADDRESS,
        file=sealed(f"media:{MEDIA}"),
    ),
    ("watermark.raised", 1): WatermarkRaised(status="read", up_to=AT),
    ("watermark.message_dated", 1): MessageDated(key=MESSAGE_KEY, at=AT),
    ("marking.requested", 1): ReadMarkingRequested(
        platform="whatsapp",
        account_id="106540352242922",
        message_version=7,
        service="crm",
        user_id=ANN,
        at=AT,
    ),
    ("marking.ended", 1): ReadMarkingEnded(message_version=7, outcome="marked"),
    ("organisation.read_marking_changed", 1): ReadMarkingChanged(
        service="crm", enabled=True, user_id=ADMIN
    ),
    ("organisation.created", 1): OrganisationCreated(name="株式会社サンプル"),
    ("organisation.service_added", 1): ServiceAdded(
        service="crm", subscription="bundled", user_id=ADMIN
    ),
    ("organisation.subscription_changed", 1): SubscriptionChanged(
        service="crm", subscription="upgraded", user_id=ADMIN
    ),
    ("organisation.masking_changed", 1): MaskingChanged(
        service="crm", masking="none", user_id=ADMIN
    ),
    ("organisation.reply_ownership_changed", 1): ReplyOwnershipChanged(
        service="desk", required=False, user_id=ADMIN
    ),
    ("organisation.ticket_timer_changed", 1): TicketTimerChanged(
        service="desk", hours=24, user_id=ADMIN
    ),
    ("organisation.user_added", 1): UserAdded(
        added_user_id=ANN,
        role="agent",
        services={"crm": "reply", "desk": "view"},
        profile=OF_USER,
        user_id=ADMIN,
    ),
    ("organisation.user_role_changed", 1): UserRoleChanged(
        changed_user_id=ANN, role="supervisor", user_id=ADMIN
    ),
    ("organisation.user_services_changed", 1): UserServicesChanged(
        changed_user_id=ANN, services={"crm": "view", "salesiq": "reply"}, user_id=ADMIN
    ),
    ("organisation.user_away_changed", 1): UserAwayChanged(
        changed_user_id=ANN, away=True, user_id=ANN
    ),
    ("organisation.api_key_created", 1): ApiKeyCreated(
        key_id=API_KEY,
        for_user_id=ANN,
        name="nightly export",
        scopes=("read", "audit"),
        expires_at=LATER,
        user_id=ADMIN,
    ),
    ("organisation.api_key_revoked", 1): ApiKeyRevoked(key_id=API_KEY, user_id=ADMIN),
    ("reader.service_visited", 1): ServiceVisited(user_id=ANN, service="crm"),
    ("reader.chat_visited", 1): ChatVisited(user_id=ANN, service="crm", chat_id=CHAT),
    ("template.defined", 1): TemplateDefined(
        name="order_shipped",
        language="ja",
        category="utility",
        body="{{name}}様、ご注文{{number}}を発送しました。",
        parameters=("name", "number"),
        state="approved",
        user_id=ADMIN,
    ),
    ("template.state_changed", 1): TemplateStateChanged(
        name="order_shipped", language="ja", state="paused"
    ),
    ("template.category_changed", 1): TemplateCategoryChanged(
        name="order_shipped", language="ja", category="marketing", at=AT
    ),
    ("unrouted.delivery_kept", 1): DeliveryKept(delivery=OF_DELIVERY),
    ("unrouted.handed_over", 1): DeliveriesHandedOver(organisation_id=ORGANISATION, count=3),
}

# Fields that came later and may be left out; each file lies in stored_events/later.
LATER_SAMPLES: dict[str, Event] = {
    "chat.message_sent.1.quote_token": MessageSent(
        message_id=REPLY, key=REPLY_KEY, platform=OF_CONTACT, quote_token=OF_CONTACT
    ),
    "chat.message_received.1.files": MessageReceived(
        message_id=MESSAGE, kind="image", at=AT, content=OF_CONTACT, key=MESSAGE_KEY, files=1
    ),
    "chat.message_received.1.referred": MessageReceived(
        message_id=MESSAGE, kind="text", at=AT, content=OF_CONTACT, key=MESSAGE_KEY, referred=True
    ),
    "chat.receipt_received.1.reason": ReceiptReceived(
        key=REPLY_KEY,
        status="failed",
        at=LATER,
        message_id=REPLY,
        error_code=131047,
        reason="window_closed",
    ),
    "chat.reply_requested.1.in_entry_point": ReplyRequested(
        message_id=REPLY,
        channel_id=CHANNEL,
        service="crm",
        user_id=ANN,
        kind="text",
        at=AT,
        content=OF_CONTACT,
        conversation=REPLY,
        in_window=True,
        in_entry_point=True,
    ),
    "credits.charged.1.in_entry_point": Charged(
        charge_id=REPLY,
        chat_id=CHAT,
        conversation_id=REPLY,
        platform="whatsapp",
        account_id="106540352242922",
        service="crm",
        user_id=ANN,
        country="JP",
        at=AT,
        month="2026-03",
        kind="pricing",
        rule="service-message/2026-10",
        card="default/1",
        inputs=Inputs(
            category="service",
            is_template=False,
            in_window=True,
            opens_conversation=True,
            rate_micro_usd=8_000,
            used_by_business=0,
            used_by_account=1_000,
            in_entry_point=True,
        ),
        price=Price("message", 0),
    ),
    "chat.echo_received.1.files": EchoReceived(
        message_id=ECHO, kind="image", at=AT, content=OF_CONTACT, key=REPLY_KEY, files=2
    ),
    "chat.reply_requested.1.media_id": ReplyRequested(
        message_id=REPLY,
        channel_id=CHANNEL,
        service="crm",
        user_id=ANN,
        kind="image",
        at=AT,
        content=OF_CONTACT,
        media_id=MEDIA,
    ),
    "chat.send_started.1.at": SendStarted(
        message_id=REPLY, attempt=1, dispatcher="host-1:4711", at=AT
    ),
    "chat.send_deferred.1.unanswered": SendDeferred(
        message_id=REPLY, reason="answer_lost", retry_at=LATER, unanswered_since=AT
    ),
}

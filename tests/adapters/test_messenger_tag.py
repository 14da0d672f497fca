"""Messenger is told by which tag a person's message leaves after the window (N1)."""

import msgspec

from adapters.messenger.outgoing import envelope
from domain.inbound import Address, Content
from domain.outbound import OutboundMessage


def test_n1_messenger_is_told_the_tag() -> None:
    message = OutboundMessage(
        mark="chat.m",
        account_id="101",
        recipient=(Address("messenger:101", "psid"),),
        kind="text",
        content=Content(text="hello"),
    )
    assert envelope(message)["messaging_type"] == "RESPONSE"
    tagged = envelope(msgspec.structs.replace(message, tag="HUMAN_AGENT"))
    assert (tagged["messaging_type"], tagged["tag"]) == ("MESSAGE_TAG", "HUMAN_AGENT")

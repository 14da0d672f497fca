"""The platforms that can be written to, for the tests that all of them pass: one line each."""

from collections.abc import Mapping

from tests.adapters.senders.line import LINE
from tests.adapters.senders.messenger import MESSENGER
from tests.adapters.senders.sender import Sender
from tests.adapters.senders.telegram import TELEGRAM
from tests.adapters.senders.wechat import WECHAT
from tests.adapters.senders.whatsapp import WHATSAPP

SENDERS: Mapping[str, Sender] = {
    each.platform: each for each in (WHATSAPP, MESSENGER, LINE, TELEGRAM, WECHAT)
}

"""What the codes of Meta's Cloud API mean for a message that was to be sent."""

from adapters.meanings import Meaning
from adapters.meta_errors import meanings
from domain.inbound import Condition

MEANINGS = meanings(
    (
        (Meaning("stop", "permission"), (3, 10, *range(200, 300), 131005)),
        (Meaning("stop", "registration"), (131037, 131045, *range(133000, 133017))),
        (Meaning("stop", "credentials"), (0, 102, 190)),
        (Meaning("stop", "blocked"), (368, 131031)),
        (Meaning("stop", "payment"), (131042,)),
        (Meaning("defer", "rate_limited"), (4, 80007, 130429, 133016)),
        (Meaning("defer", "spam_limited"), (131048,)),
        (Meaning("defer", "pair_limited"), (131056,)),
        # Meta's own word that it does not work at the moment, mostly with a 500.
        (Meaning("defer", "unavailable"), (2, 131016, 131057, 133004)),
        (Meaning("transient", "unavailable"), (1, 131000)),
        (Meaning("reject", "invalid"), (100, 131008, 131009, 131021, 131051)),
        # "The business phone number has been deleted": no other message would fare better. Code
        # 100 is any wrong parameter; with this subcode the account itself is what does not exist,
        # or not for this token.
        (Meaning("stop", "account_unknown"), (33, (100, 33))),
        (Meaning("reject", "undeliverable"), (131026, 131030, 130472)),
        # Only towards customers of one country, so the account goes on with all others; it is
        # shown as restricted.
        (Meaning("reject", "restricted_country"), (130497,)),
        (Meaning("reject", "window_closed"), (131047,)),
        # A customer gets only so much marketing from everybody together: no sooner than tomorrow.
        (Meaning("reject", "marketing_limited"), (131049,)),
        (Meaning("reject", "opted_out"), (131050,)),
        (Meaning("reject", "blocked"), (130403,)),
        (Meaning("reject", "media", once_more=True), (131052, 131053)),
        (Meaning("reject", "address"), (131062,)),
        (Meaning("reject", "template"), range(132000, 133000)),
        # For its poor quality: no other customer would get it either (C8).
        (Meaning("reject", "template_paused"), (132015, 132016)),
    )
)


def reason_of(code: int | None) -> str | None:
    """Our word for what a code says of a message; None for a code that we do not know."""
    meaning = _meaning_of(code)
    return meaning.reason if meaning is not None else None


def condition_of(code: int | None) -> Condition | None:
    """What a code says of the account, where no other message would fare better."""
    meaning = _meaning_of(code)
    if meaning is None or meaning.verdict != "stop":
        return None
    return Condition(state="stopped", reason=meaning.reason)


def _meaning_of(code: int | None) -> Meaning | None:
    return MEANINGS.get((code, None)) if code is not None else None

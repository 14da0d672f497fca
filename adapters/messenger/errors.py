"""What the codes of Meta's Send API mean for a message that was to be sent."""

from adapters.meanings import Meaning
from adapters.meta_errors import meanings

MEANINGS = meanings(
    (
        (Meaning("stop", "permission"), (3, 10, *range(200, 300), 10904)),
        (Meaning("stop", "credentials"), (0, 102, 190)),
        (Meaning("stop", "blocked"), (368, (10, 1893063))),
        (Meaning("defer", "rate_limited"), (4, 32, 613, 80006)),
        # 2 is said of customers who have blocked the page, too: such a message waits in vain.
        (Meaning("defer", "unavailable"), (2, 1200)),
        (Meaning("transient", "unavailable"), (1,)),
        (Meaning("reject", "invalid"), (100,)),
        # Any wrong parameter is 100; with this subcode it is the page that this token does not see.
        (Meaning("stop", "account_unknown"), ((100, 33),)),
        (Meaning("reject", "undeliverable"), (551, (551, 1545041), (100, 2018001))),
        # They concern one customer, so the page goes on with all others.
        (Meaning("reject", "undeliverable"), ((200, 1545041), (200, 2018108))),
        (Meaning("reject", "window_closed"), ((10, 2018278), (10, 2534022), (10, 2018065))),
        (Meaning("reject", "media"), ((100, 2018047), (100, 2018109), (613, 2018109))),
    )
)

"""What this process knows of the log: how far it has seen, and the newest versions of streams."""

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from adapters.postgres.appender import NEVER, Change
from adapters.postgres.batch import Head
from adapters.postgres.ticket import Stream

VERSIONS_KEPT_MAX = 200_000


@dataclass(slots=True)
class News:
    """What others have done: streams that have grown, orgs of which nobody can say what has."""

    streams: set[Stream] = field(default_factory=set)
    orgs: set[int] = field(default_factory=set)


class View:
    """The heads of the orgs that were seen, and the versions of streams as of these heads."""

    def __init__(self) -> None:
        self.heads: dict[int, Head] = {}
        # Of as many streams as there is room for; a missing one is looked up when it matters.
        self.versions: dict[Stream, int] = {}
        self.overtaken: defaultdict[int, int] = defaultdict(int)  # How often others wrote first.
        self._contested: set[int] = set()  # Orgs to which others wrote when last looked at.

    def position(self, org: int) -> int:
        """How far an org's log is known."""
        head = self.heads.get(org)
        return head.position if head else NEVER

    def is_likely_up_to_date(self, orgs: AbstractSet[int]) -> bool:
        """Whether a batch for these orgs will probably fit."""
        return self.heads.keys() >= orgs and self._contested.isdisjoint(orgs)

    def advance(self, heads: Mapping[int, Head], versions: Mapping[Stream, int]) -> None:
        """This process has written."""
        self.heads.update(heads)
        if len(self.versions) > VERSIONS_KEPT_MAX:
            self.versions.clear()
        self.versions.update(versions)

    def learn(self, changes: Mapping[int, Change]) -> News:
        """Take in where orgs stand, while this process writes nothing to them."""
        news = News()
        for org, change in changes.items():
            before = self.heads.get(org)
            self.heads[org] = change.head
            self._contested.discard(org)
            if before is None or before == change.head:
                continue
            self.overtaken[org] += 1
            self._contested.add(org)
            if change.versions and change.head.position > before.position:
                self.versions.update(change.versions)
                news.streams.update(change.versions)
            else:
                self.versions.clear()
                news.orgs.add(org)
        return news

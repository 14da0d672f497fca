"""Histories that the log could hold, at random and dense: few names, to which much happens."""

from typing import Any

from hypothesis import strategies as st

from domain import chat_events
from tests.projections.histories import History

SERVICES = ("crm", "desk", "bigin")
CHATS = ("a", "b")
# Which services may connect to it, and whether it is shared.
CHANNELS = {
    "shared": (("crm", "desk"), True),
    "of-bigin": (("bigin",), False),
    "of-desk": (("desk",), False),
}
PLACES = [(name, channel_id) for channel_id, (names, _) in CHANNELS.items() for name in names]
STATUSES = ("sent", "delivered", "read", "played", "failed", "odd")
chat_ids = st.sampled_from(CHATS)
minutes = st.integers(0, 9)
numbers = st.integers(0, 1)  # Few names, so that much happens to each.
services = st.sampled_from(SERVICES)
STEPS = st.one_of(
    st.tuples(st.just("join"), st.sampled_from(PLACES)),
    st.tuples(st.just("leave"), st.sampled_from(PLACES), st.booleans()),
    st.tuples(st.just("customer"), chat_ids, numbers, minutes),
    st.tuples(st.just("reply"), chat_ids, numbers, minutes, services),
    st.tuples(st.just("echo"), chat_ids, numbers, minutes, st.booleans()),
    st.tuples(st.just("answer"), chat_ids, numbers, st.sampled_from(["sent", "failed", "lost"])),
    st.tuples(st.just("receipt"), chat_ids, st.sampled_from("re"), numbers, minutes,
              st.sampled_from(STATUSES), st.booleans()),
    st.tuples(st.just("fetch"), chat_ids, numbers, st.booleans()),
    st.tuples(st.just("edit"), chat_ids, st.sampled_from("mre"), numbers, minutes),
    st.tuples(st.just("unsend"), chat_ids, st.sampled_from("mre"), numbers),
    st.tuples(st.just("react"), chat_ids, st.sampled_from("mre"), numbers, minutes,
              st.sampled_from(["+", "-", None])),
    st.tuples(st.just("engage"), chat_ids, minutes),
    st.tuples(st.just("decide"), chat_ids, services,
              st.sampled_from(["assigned", "unassigned", "closed", "opened", "blocked",
                               "unblocked"])),
)  # fmt: skip


class Story:
    """Tells steps as a history that the log could hold, leaving out what could not happen."""

    def __init__(self, steps: list[Any]) -> None:
        self.history = History()
        self.active: dict[str, str] = {}  # Service -> channel.
        self.disabled: set[tuple[str, str]] = set()
        self.channels: set[str] = set()
        self.written: set[str] = set()
        self.fetched: set[tuple[str, int]] = set()
        self.history.uploaded("photo")
        self.join(("crm", "shared"))
        for chat_id in CHATS:
            self.history.chat(chat_id, f"contact-{chat_id}")
        for name, *arguments in steps:
            getattr(self, name)(*arguments)

    def join(self, place: tuple[str, str]) -> None:
        service, channel_id = place
        if service in self.active:
            return
        if channel_id not in self.channels:
            self.channels.add(channel_id)
            self.history.channel(channel_id, shared=CHANNELS[channel_id][1])
        if place in self.disabled:
            self.history.enabled(service, channel_id)
        else:
            self.history.connected(service, channel_id)
        self.disabled.discard(place)
        self.active[service] = channel_id

    def leave(self, place: tuple[str, str], deletes: bool) -> None:
        service, channel_id = place
        if self.active.get(service) != channel_id:
            return
        del self.active[service]
        if deletes:
            self.history.deleted(service, channel_id)
        else:
            self.disabled.add(place)
            self.history.disabled(service, channel_id)

    def _is_new(self, name: str) -> bool:
        is_new = name not in self.written
        self.written.add(name)
        return is_new

    def customer(self, chat_id: str, number: int, minute: int) -> None:
        name = f"{chat_id}m{number}"
        if self._is_new(name):
            # The second one brings two files.
            facts = {"kind": "image", "files": 2} if number else {}
            self.history.customer(name, minute, chat_id, **facts)

    def engage(self, chat_id: str, minute: int) -> None:
        self.history.window_opened(minute, chat_id)

    def fetch(self, chat_id: str, part: int, is_there: bool) -> None:
        name = f"{chat_id}m1"
        if name not in self.written or (name, part) in self.fetched:
            return
        self.fetched.add((name, part))
        if is_there:
            self.history.fetched(name, part, chat_id)
        else:
            self.history.not_fetched(name, part, "gone", chat_id)

    def reply(self, chat_id: str, number: int, minute: int, service: str) -> None:
        name = f"{chat_id}r{number}"
        if service in self.active and self._is_new(name):
            channel_id = self.active[service]
            facts = {"media_id": "photo"} if number else {}
            self.history.reply(name, service, minute, chat_id, channel_id=channel_id, **facts)

    def echo(self, chat_id: str, number: int, minute: int, of_ours: bool) -> None:
        name = f"{chat_id}e{number}"
        if self._is_new(name):
            self.history.echo(name, minute, chat_id, of=f"{chat_id}r{number}" if of_ours else None)

    def answer(self, chat_id: str, number: int, answer: str) -> None:
        name = f"{chat_id}r{number}"
        if name not in self.written:
            return
        if answer == "sent":
            self.history.sent(name, chat_id)
        elif answer == "failed":
            self.history.failed(name, chat_id=chat_id)
        else:
            lost = chat_events.SendUncertain(message_id=name, reason="timeout")
            self.history.on_chat(lost, chat_id)

    def receipt(
        self, chat_id: str, letter: str, number: int, minute: int, status: str, marked: bool
    ) -> None:
        name = f"{chat_id}{letter}{number}"
        is_ours = letter == "r" and name in self.written
        facts = {"message_id": name} if marked and is_ours else {}
        self.history.receipt(
            name, status, minute, chat_id, error_code=131026, reason=f"no {minute}", **facts
        )

    def edit(self, chat_id: str, letter: str, number: int, minute: int) -> None:
        text = f"edit {len(self.history.log)}"
        self.history.edited(f"{chat_id}{letter}{number}", text, minute, chat_id)

    def unsend(self, chat_id: str, letter: str, number: int) -> None:
        self.history.unsent(f"{chat_id}{letter}{number}", chat_id=chat_id)

    def react(self, chat_id: str, letter: str, number: int, minute: int, emoji: str | None) -> None:
        self.history.reacted(f"{chat_id}{letter}{number}", emoji, minute, chat_id)

    def decide(self, chat_id: str, service: str, what: str) -> None:
        if service not in self.active:
            return
        arguments = ("someone",) if what == "assigned" else ()
        getattr(self.history, what)(service, *arguments, chat_id=chat_id)


histories = st.lists(STEPS, min_size=25, max_size=60).map(lambda steps: Story(steps).history)

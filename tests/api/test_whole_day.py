"""A whole day on each platform: nothing lost, nothing doubled, the order kept (P2, N3, N4)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.platforms import CLIENTS
from adapters.pretended import PRETENDED
from tests.api.whole_day import Day, assert_nothing_is_lost, sending, whole_day
from tests.conftest import fresh_database

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 7))]


@pytest.fixture
async def day(
    platform: str, seed: int, server: str, template: str, tmp_path: Path
) -> AsyncIterator[Day]:
    with fresh_database(server, template) as database:
        async with whole_day(platform, seed, database, tmp_path) as day:
            yield day


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("platform", list(PRETENDED))
async def test_a_whole_day(day: Day) -> None:
    fake = day.one.fake
    # The morning: they write; everything comes again; we are down, and they write on.
    await day.hears(rounds=3)
    fake.deliver_again(seed=day.chance.random())
    await day.hears(rounds=1)
    await day.go_down()
    for address in day.customers:
        day.says(address)
    await day.come_back()
    await fake.settled()
    await day.learn_chats()
    await assert_nothing_is_lost(day)
    # The answers: a process dies while it sends them, and another goes on.
    await day.answers(rounds=2)
    await day.crash_while_sending()
    async with sending(day):
        await day.until(day.nothing_is_queued, "what the dead process left is settled")
        await assert_nothing_is_lost(day)
        # The platform is away, while both sides write.
        await fake.go_down()
        await day.answers(rounds=1)
        await day.hears(rounds=1)
        await fake.come_back()
        await day.until(day.nothing_is_queued, "what waited is sent")
        # It misbehaves in every way.
        fake.next_requests(*day.trouble())
        await day.answers(rounds=2)
        await day.until(day.nothing_is_queued, "in the end all is settled")
    # In the evening everything comes once more.
    await assert_nothing_is_lost(day)
    before = await day.client.events()
    fake.deliver_again(seed=day.chance.random())
    await fake.settled()
    assert await day.client.events() == before
    await assert_nothing_is_lost(day)
    await assert_that_is_noticed(day)


async def assert_that_is_noticed(day: Day) -> None:
    """Were something doubled, overtaken, lost on its way in, or sent and gone, the laws say so."""
    accepted, written = day.one.fake.accepted, day.written[day.customers[0]]
    first, second, *_ = [each for each in accepted if each.to == accepted[0].to]
    places = accepted.index(first), accepted.index(second)
    whole = list(accepted)
    for broken in (
        [*whole, first],
        [{places[0]: second, places[1]: first}.get(n, each) for n, each in enumerate(whole)],
        [each for each in whole if each.to != first.to],
    ):
        accepted[:] = broken
        with pytest.raises(AssertionError):
            await assert_nothing_is_lost(day)
    accepted[:] = whole
    written.append("never heard of")
    with pytest.raises(AssertionError):
        await assert_nothing_is_lost(day)


def test_every_platform_that_is_sent_to_has_a_fake() -> None:
    assert set(PRETENDED) == set(CLIENTS)

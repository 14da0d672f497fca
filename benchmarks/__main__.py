"""`make bench`: one table of ratios for people, and JSON for machines."""

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from psycopg.conninfo import make_conninfo

from benchmarks import append, billing, cold_chat, growth, parsing, peers, projections, webhook
from benchmarks.servers import Server, can_be_slow, server
from benchmarks.table import Row, compare, console, show, write

ROUNDS = 3
WEBHOOKS = 20_000
BILLED_ROUNDS = 12  # They differ by little, and each by more than that from the next.


@dataclass(frozen=True)
class Floors:
    """What our append with 64 commands in flight is to reach against each peer."""

    library: float
    plain: float
    message_db: float | None = None
    emmett: float | None = None


def appends(running: Server, label: str, floors: Floors, npm: Path | None) -> list[Row]:
    """Our appends against the library's, plain inserts and two peers, interleaved."""
    measured: dict[str, list[float]] = {}
    latencies: list[tuple[int, append.Measured]] = []
    for _ in range(ROUNDS):
        for in_flight in (1, 64, 256):
            one = append.ours(running, in_flight=in_flight)
            measured.setdefault(f"ours {in_flight}", []).append(one.per_second)
            latencies.append((in_flight, one))
        best = max(append.library(running, threads=threads) for threads in (1, 4))
        measured.setdefault("library", []).append(best)
        measured.setdefault("plain 32", []).append(append.plain(running, clients=32))
        measured.setdefault("plain 1", []).append(append.plain(running, clients=1))
        if npm is not None:
            best = max(peers.message_db(running, npm, threads=threads) for threads in (1, 4))
            measured.setdefault("message-db", []).append(best)
            measured.setdefault("emmett", []).append(peers.emmett(running, npm, clients=32))
    for in_flight in (1, 64, 256):
        of_these = [one for flight, one in latencies if flight == in_flight]
        p50 = median(one.p50_ms for one in of_these)
        p99 = median(one.p99_ms for one in of_these)
        rate = median(one.per_second for one in of_these)
        console.print(
            f"  append, {label}, {in_flight:>3} in flight:"
            f" {rate:>8,.0f} events/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms"
        )
    compared = [
        ("64 in flight ÷ library's recorder", "ours 64", "library", floors.library),
        ("64 in flight ÷ plain inserts, 32 clients", "ours 64", "plain 32", floors.plain),
        ("64 in flight ÷ message-db", "ours 64", "message-db", floors.message_db),
        ("64 in flight ÷ Emmett, 32 clients", "ours 64", "emmett", floors.emmett),
        ("1 in flight ÷ plain inserts, 1 client", "ours 1", "plain 1", None),
    ]
    return [
        compare(f"append, {what} ({label})", measured[ours], measured[peer], floor)
        for what, ours, peer, floor in compared
        if peer in measured
    ]


def webhooks(running: Server) -> Row:
    """Durable webhooks against the same route with nothing behind the parser."""
    durable: list[float] = []
    cut: list[float] = []
    with running.database(f"webhooks_{secrets.token_hex(4)}", migrated=True) as address:
        asyncio.run(webhook.hold_account(address))
        for number in range(ROUNDS):
            for is_cut, rates in ((True, cut), (False, durable)):
                run = f"{number}{'cut' if is_cut else 'all'}"
                one = webhook.measure(address, count=WEBHOOKS, run=run, cut=is_cut)
                rates.append(one.per_second)
                console.print(
                    f"  webhook, {'cut' if is_cut else 'durable':>7}:"
                    f" {one.per_second:>8,.0f}/s, p50 {one.p50_ms:.1f} ms, p99 {one.p99_ms:.1f} ms"
                )
    return compare("durable webhook ÷ the route without decide and append", durable, cut, 0.6)


def bills(running: Server) -> Row:
    """A reply inside an open conversation against one with billing off."""
    billed: list[float] = []
    unbilled: list[float] = []
    with running.database(f"bills_{secrets.token_hex(4)}", migrated=True) as address:
        for number in range(BILLED_ROUNDS):
            # Neither always goes first: the log grows, and the machine warms.
            for is_billed in (True, False) if number % 2 else (False, True):
                rate = asyncio.run(billing.replies_per_second(address, billing=is_billed))
                (billed if is_billed else unbilled).append(rate)
        superuser = billing.database_of(address, running.superuser)
        seconds = asyncio.run(billing.statement_seconds(superuser))
        asyncio.run(billing.fill_a_month(superuser))
        priced = asyncio.run(billing.recount_seconds(superuser))
        small, large = (
            asyncio.run(billing.recount_memory(superuser, count)) for count in (20_000, 200_000)
        )
    console.print(f"  statement of {billing.LINES:,} conversations: {seconds * 1000:.0f} ms")
    console.print(f"  a month of {billing.MESSAGES:,} messages priced again: {priced:.1f} s")
    console.print(f"  and in memory: {small:.0f} KiB for 20,000, {large:.0f} KiB for 200,000")
    return compare("reply in an open conversation ÷ with billing off", billed, unbilled, 0.91)


def cold_chats(running: Server) -> Row:
    """A command on a long chat that is in nobody's memory, against one on a short chat."""
    rounds = []
    for _ in range(ROUNDS):
        name = f"cold_{secrets.token_hex(4)}"
        with running.database(name, migrated=True) as address:
            superuser = make_conninfo(running.superuser, dbname=name)
            one = cold_chat.measure(address, superuser)
        rounds.append(one)
        console.print(
            f"  command on a cold chat: of 100,000 messages {one.long_ms:.2f} ms,"
            f" of 100 {one.short_ms:.2f} ms;"
            f" of 100,000 without snapshots {one.without_snapshots_ms:,.0f} ms"
        )
    # As rates, like the others: the time is at most 1.3 times that of a short chat.
    return compare(
        "commands on a cold chat of 100,000 messages ÷ of 100",
        [1000 / one.long_ms for one in rounds],
        [1000 / one.short_ms for one in rounds],
        1 / 1.3,
    )


def main() -> None:
    """Measure everything."""
    rows = parsing.measure()
    with peers.installed() as npm:
        if npm is None:
            console.print("  No npm or no registry: message-db and Emmett are left out.")
        with server() as running:
            rows += appends(running, "this disk", Floors(12, 1, 3.3, 6), npm)
            rows.append(webhooks(running))
            rows.append(bills(running))
            rows.append(cold_chats(running))
            rows += projections.measure(running, rounds=ROUNDS)
            rows += growth.measure(running)
        if can_be_slow():
            with server(slow=True) as slow:
                rows += appends(slow, "1 ms flush", Floors(35, 1.9), npm)
        else:
            console.print("  No C compiler (cc): the rows with a 1 ms flush are left out.")
    show(rows)
    write(rows)


if __name__ == "__main__":
    main()

"""What CRM writes is read in CRM alone: others ask for it at every endpoint there is (S4).

CRM writes in every way there is, and each text holds a word of its own. Then Desk's people and an
auditor ask for everything, and none of these words may be in any answer. Nor may an answer depend
on them: two organisations in which CRM wrote differently look the same from Desk.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

import api.views
from projections.masking import Visible
from tests.api.conftest import Trunkline
from tests.api.endpoints import Answer, ask, ask_everything
from tests.api.masked_story import AGENTS, CHAT, OTHERS, PLACES, Told, tell
from tests.api.operations import NOBODYS_ID, is_public, operations
from tests.api.terminal import Operator

# Who asks, and for what.


class Lines(logging.Handler):
    """Every line of the log of this process, with its fields."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(f"{record.getMessage()} {vars(record)}")


@contextmanager
def everything_logged() -> Iterator[Lines]:
    lines, root = Lines(), logging.getLogger()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(lines)
        root.setLevel(level)


@pytest.fixture(scope="module")
def lines() -> Iterator[Lines]:
    with everything_logged() as all_lines:
        yield all_lines


@pytest.fixture(scope="module")
async def told(trunkline: Trunkline, lines: Lines) -> Told:
    return await tell(trunkline, short=False)


async def reads(told: Told, *people: str) -> list[Answer]:
    """All that they can read in Desk; Desk's agents ask for what is CRM's, too, in vain."""
    document = (await told.office.admin.http.get("/openapi.json")).json()
    answers = []
    for name in people or OTHERS:
        for service in ("desk", "crm") if name in AGENTS else ("desk",):
            client, names = told.others[name], told.names(service)
            if name not in AGENTS:
                # Files have one endpoint for all services: who may look at CRM is given CRM's.
                names["media_id"] = [NOBODYS_ID]
            answers += [each async for each in ask_everything(client, names, document)]
    return answers


def leaks(told: Told, answers: Iterable[Answer]) -> dict[str, list[str]]:
    """The endpoints that gave words of CRM, with the places where these stood."""
    found = {each.endpoint: told.found_in(each.readable()) for each in answers}
    return {endpoint: places for endpoint, places in found.items() if places}


async def test_crm_reads_what_it_wrote(told: Told) -> None:
    """Otherwise nothing below would mean anything. Details of errors are shown to nobody."""
    document = (await told.office.admin.http.get("/openapi.json")).json()
    seen = set()
    async for each in ask_everything(told.author, told.names("crm"), document):
        seen.update(told.found_in(each.readable()))
    assert seen == set(PLACES) - {"replaced", "unsent", "answered detail", "reported detail"}


async def test_no_read_of_another_service_gives_any_of_it(told: Told) -> None:
    answers = await reads(told)
    assert {200, 403} <= {each.status for each in answers}
    assert len(answers) > 300
    assert leaks(told, answers) == {}


async def test_agents_are_not_told_of_a_file_that_it_is_there(told: Told) -> None:
    """S4: neither its id nor its size; asked for by its id it is as good as nobody's."""
    download = f"GET /v1/media/{told.media[0]}"
    nobodys = [await ask(told.others[name], "GET", f"/v1/media/{NOBODYS_ID}") for name in AGENTS]
    for each in await reads(told, *AGENTS):
        assert told.media[0] not in each.readable(), each.endpoint
        if each.endpoint == download:
            assert (each.status, each.text) == (404, nobodys[0].text)
    assert nobodys[0].text == nobodys[1].text


async def test_nor_does_it_tell_who_wrote_it(told: Told) -> None:
    """Masked are the author and the owner, too; only the list of users names everybody."""
    for each in await reads(told, *AGENTS):
        if each.endpoint.startswith("GET /v1/users") or "owner=" in each.endpoint:
            continue
        assert told.author.user_id not in each.readable(), each.endpoint
        assert "Zoraida" not in each.readable(), each.endpoint


async def test_no_log_line_and_no_table_holds_any_of_it(told: Told, lines: Lines) -> None:
    """Spec E4, P4: content is sealed wherever it is kept, and never logged."""
    await reads(told)
    assert lines.text
    assert [told.found_in(line) for line in lines.text if told.found_in(line)] == []
    assert told.found_in(await dumped(told.office.trunkline.database.migration_url)) == []


async def dumped(url: str) -> str:
    """Every row of every table; bytes as the text that they are."""
    text = []
    async with await psycopg.AsyncConnection.connect(url) as database:
        tables = await database.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for schema, table in await tables.fetchall():
            query = sql.SQL("SELECT * FROM {}.{}")
            rows = await database.execute(
                query.format(sql.Identifier(schema), sql.Identifier(table))
            )
            for row in await rows.fetchall():
                for value in row:
                    is_bytes = isinstance(value, bytes)
                    text.append(value.decode(errors="replace") if is_bytes else str(value))
    return "\n".join(text)


async def test_no_history_shows_any_of_it(told: Told) -> None:
    """The command line opens nothing sealed, whoever may run it."""
    names, trunkline = told.office.names, told.office.trunkline
    events = await told.office.admin.events()
    streams = sorted({each["stream"] for each in events})
    assert f"chat:{names['chat_id']}" in streams
    environment = {
        "TRUNKLINE_DATABASE_URL": trunkline.database.url,
        "TRUNKLINE_MIGRATION_DATABASE_URL": trunkline.database.migration_url,
        "TRUNKLINE_MASTER_KEY": (trunkline.settings.home / "master.key").read_text(),
    }
    org = ("--org", told.office.admin.organization_id)
    as_of = ("--as-of", str(events[-1]["position"]))
    chat = f"chat:{names['chat_id']}"
    asked = [(chat,), (chat, *as_of), (chat, *as_of, "--json")]
    for subject in [*asked, *((stream, "--json") for stream in streams)]:
        done = await Operator(environment).asks("history", *subject, *org)
        assert (done.code, told.found_in(done.out + done.err)) == (0, []), subject
        assert done.out


# What others do, and what they are answered.


async def writes(told: Told, name: str) -> list[Answer]:
    """What somebody is answered who tries everything in Desk, above all with CRM's messages."""
    office, client = told.office, told.others[name]
    answers = []
    for method, template in await operations(office.admin.http):
        if method == "GET" or is_public(template):
            continue
        messages = told.masked if "{message_id}" in template else [NOBODYS_ID]
        for message_id in messages:
            others = {"service": "desk", "message_id": message_id}
            path, body = office.path(template, **others), office.body(method, template, **others)
            answers.append(await ask(client, method, path, json=body))
    return answers


async def test_no_refusal_and_no_answer_to_a_write_gives_any_of_it(trunkline: Trunkline) -> None:
    """Spec S6, S7, S14: conflicts and notices tell as little as the timeline does."""
    told = await tell(trunkline, short=False)
    desk = told.others["desk reply"]
    path = told.office.path(CHAT, service="desk")
    taken = await ask(desk, "POST", f"{path}/assign", json={})
    reply = {"kind": "text", "text": "Hello from Desk", "seen_position": 1}
    conflict = await ask(desk, "POST", f"{path}/messages", json=reply)
    assert json.loads(conflict.text)["message"]["masked"]
    assert [json.loads(each.text)["code"] for each in (taken, conflict)] == [
        "owned_elsewhere",
        "answered_meanwhile",
    ]
    answers = [taken, conflict]
    for name in OTHERS:
        answers += await writes(told, name)
        is_told = [each.endpoint for each in answers if "Zoraida" in each.readable()]
        assert name not in AGENTS or is_told == []
    assert {200, 202, 400, 403, 404, 409} <= {each.status for each in answers}
    assert leaks(told, answers) == {}


# What others are answered does not depend on what CRM wrote.


def plain(answer: Answer) -> tuple[str, int, dict[str, str], str]:
    """An answer without ids, times, positions and numbers of accounts."""
    headers = {
        name: value
        for name, value in answer.headers
        if name not in ("date", "content-length", "trunkline-position")
    }
    texts = []
    for text in (answer.endpoint, answer.text):
        text = re.sub(r"[a-z2-7]{26}", "ID", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", text)
        text = re.sub(r"cursor(=|\":\")[A-Za-z0-9_-]+", "CURSOR", text)
        texts.append(re.sub(r"(position\":)?\d{2,}", "NUMBER", text))
    return texts[0], answer.status, headers, texts[1]


async def test_nothing_that_others_see_depends_on_what_was_written(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec S4: neither sizes nor counts, searches nor pages; a template looks like a text."""
    few, many = [await tell(trunkline, short=short) for short in (True, False)]
    assert differences(*[await reads(each, "desk view", "auditor") for each in (few, many)]) == []
    monkeypatch.setattr(api.views, "shown_to", unmasked)
    assert differences(*[await reads(each, "desk view") for each in (few, many)]) != []
    monkeypatch.undo()
    await trunkline.fake.go_down()  # So that what is written waits when it is shown.
    try:
        assert differences(*[await writes(each, "desk reply") for each in (few, many)]) == []
    finally:
        await trunkline.fake.come_back()


def differences(some: list[Answer], others: list[Answer]) -> list[Any]:
    """What is not the same in both.

    Aside from users, who come in the order of their random ids; from the auditor's log, which tells
    what kind of message it was; from live streams, of which only the first bytes are read here; and
    from the metrics, which count what these very questions cost.
    """
    aside = ("GET /v1/users", "GET /v1/events", "GET /v1/services/desk/stream", "GET /metrics")
    pairs = zip(map(plain, some), map(plain, others), strict=True)
    return [pair for pair in pairs if pair[0] != pair[1] and not pair[0][0].startswith(aside)]


def unmasked(viewing_service: str, message: Any, *, policy: str) -> Visible[Any]:
    return Visible(message)


async def test_without_masking_all_of_this_would_be_seen(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: masking is switched off in its one place."""
    monkeypatch.setattr(api.views, "shown_to", unmasked)
    found = leaks(told, await reads(told))
    ids = re.compile("|".join([told.office.names["chat_id"], *told.media]))
    endpoints = {ids.sub("…", endpoint.partition("?")[0]) for endpoint in found}
    assert endpoints == {
        "GET /v1/media/…",
        "GET /v1/services/desk/chats",
        "GET /v1/services/desk/chats/…",
        "GET /v1/services/desk/chats/…/messages",
        "GET /v1/services/desk/stream",
    }
    places = {place for each in found.values() for place in each}
    assert places == set(PLACES) - {"replaced", "unsent", "answered detail", "reported detail"}

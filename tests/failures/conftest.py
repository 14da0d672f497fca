"""One installation for all tests of this folder's module."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.postgres.connections import pool
from adapters.postgres.directory import Directory
from adapters.postgres.keys import MasterKey
from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_rules import FakeAccount
from adapters.whatsapp.fake_webhooks import StatusPlan
from api.main import Database, core
from api.settings import load
from tests.adapters.log_scenario import World
from tests.api.conftest import APP_SECRET, TOKEN
from tests.api.test_reliability import MASTER_KEY
from tests.conftest import Database as EmptyDatabase
from tests.failures.house import House, environment

ACCOUNTS = [str(800000000000000 + number) for number in range(400)]


@pytest.fixture(scope="module")
async def house(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> AsyncIterator[House]:
    home = tmp_path_factory.mktemp("home")
    async with (
        FakeCloudApi(
            accounts=[FakeAccount(phone_number_id=each, access_token=TOKEN) for each in ACCOUNTS],
            app_secret=APP_SECRET,
            plan=StatusPlan(statuses=()),
        ) as fake,
        pool(database.url, "trunkline_directory", size_max=2) as directories,
    ):
        variables = environment(repository, home, database.url, fake)
        where = Database(database.url, database.superuser, "trunkline", False)
        async with core(load(variables), where) as parts:
            world = World(database, Directory(directories, MasterKey(MASTER_KEY)))
            yield House(world, parts, fake, variables, iter(ACCOUNTS))

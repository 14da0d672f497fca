"""What the tests of adapters share."""

from collections.abc import AsyncIterator

import pytest

from adapters.postgres.connections import pool
from adapters.postgres.directory import Directory
from adapters.postgres.keys import MasterKey
from tests.adapters.log_scenario import Process, World, process
from tests.conftest import Database


@pytest.fixture(scope="module")
async def world(database: Database) -> AsyncIterator[World]:
    """A database of this module, in which tests make organisations of their own."""
    async with pool(database.url, "trunkline_directory", size_max=2) as directories:
        yield World(database, Directory(directories, MasterKey(bytes(32))))


@pytest.fixture
async def one(world: World) -> AsyncIterator[Process]:
    """A process that uses the log."""
    async with process(world.database.url) as started:
        yield started


@pytest.fixture
async def other(world: World) -> AsyncIterator[Process]:
    """Another one."""
    async with process(world.database.url) as started:
        yield started

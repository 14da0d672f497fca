"""The processes of a rebuild, as those who interrupt it have them."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from api.rebuilding import RebuildJob
from projections.unread.projection import Unread
from tests.api.terminal import SECONDS_MAX

AT_WORK = 7


@asynccontextmanager
async def nowhere() -> AsyncIterator[Any]:
    """The first that a worker does, once all is loaded, is to connect."""
    raise SystemExit(AT_WORK)
    yield


def test_a_worker_hears_of_no_interruption_while_it_is_loaded(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A terminal tells all its processes of Ctrl-C; who began the rebuild ends its workers."""
    unused = cast("Any", None)
    job = RebuildJob(Unread(), unused, nowhere, unused)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    processes = [job._start_worker(unused) for _ in range(2)]
    for each in processes:
        assert each.pid is not None
        os.kill(each.pid, signal.SIGINT)
    for each in processes:
        each.join(SECONDS_MAX)
    assert [each.exitcode for each in processes] == [AT_WORK, AT_WORK]
    assert capfd.readouterr().err == ""
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before

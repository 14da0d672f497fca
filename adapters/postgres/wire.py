"""Prepared statements on one connection, several on their way at a time, with little in between.

A driver's cursor takes longer over a batch than the batch's own arithmetic; and it waits for one
answer before it sends the next statement, where a transaction's first two can go together.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import psycopg
from psycopg.errors import Diagnostic, error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from adapters.postgres.connections import Connection

# The server gave up its wait for a standby: what it calls done is here, perhaps nowhere else.
PERHAPS_NOT_REPLICATED = "01000"

Answer = asyncio.Future[PGresult]


class Lost(Exception):
    """The answer is missing, or not to be trusted: what was asked for may be done or not."""


class Wire:
    """A connection that it takes over. A statement outside of a transaction is one by itself."""

    def __init__(self, connection: Connection) -> None:
        """`connection` commits by itself; nobody else uses it from now on."""
        self._connection = connection
        self._libpq = connection.pgconn
        self._socket = self._libpq.socket
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Answer] = deque()
        self._result: PGresult | None = None
        self._is_warned = False
        self.is_open = True
        connection.add_notice_handler(self._note)
        self._libpq.nonblocking = 1
        self._libpq.enter_pipeline_mode()
        self._loop.add_reader(self._socket, self._receive)

    def prepare(self, name: bytes, statement: bytes) -> Answer:
        """Prepare a statement."""
        return self._ask(partial(self._libpq.send_prepare, name, statement))

    def execute(self, name: bytes, arguments: Sequence[bytes] = ()) -> Answer:
        """Execute what was prepared; all is binary. The answer raises psycopg.Error and Lost."""
        formats = [Format.BINARY] * len(arguments)
        send = self._libpq.send_query_prepared
        return self._ask(partial(send, name, arguments, formats, Format.BINARY))

    async def close(self) -> None:
        """Hang up; whoever waits for an answer has lost it."""
        self._hang_up()
        await self._connection.close()

    def _ask(self, send: Callable[[], None]) -> Answer:
        answer: Answer = self._loop.create_future()
        self._waiting.append(answer)
        try:
            send()
            self._libpq.pipeline_sync()
        except psycopg.OperationalError:
            self._hang_up()
        else:
            self._flush()
        return answer

    def _flush(self) -> None:
        try:
            is_more_to_send = self._libpq.flush()
        except psycopg.OperationalError:
            self._hang_up()
            return
        if is_more_to_send:
            self._loop.add_writer(self._socket, self._flush)
        else:
            self._loop.remove_writer(self._socket)

    def _receive(self) -> None:
        try:
            self._libpq.consume_input()
            while self._waiting and not self._libpq.is_busy():
                result = self._libpq.get_result()
                if result is None:
                    continue  # Of this statement; what ended it comes next.
                if result.status != ExecStatus.PIPELINE_SYNC:
                    self._result = result  # The last one counts: a commit may fail too.
                else:
                    self._answer(self._waiting.popleft())
        except psycopg.OperationalError:
            self._hang_up()

    def _answer(self, answer: Answer) -> None:
        result, self._result = self._result, None
        if answer.done():
            return
        if self._is_warned or result is None:
            answer.set_exception(Lost())
        elif result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            answer.set_result(result)
        else:
            answer.set_exception(error_from_result(result))

    def _note(self, diagnostic: Diagnostic) -> None:
        if diagnostic.sqlstate == PERHAPS_NOT_REPLICATED:
            self._is_warned = True  # For good: nothing on this connection is trusted any more.

    def _hang_up(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(Lost())

"""Somebody at a terminal, who runs `trunkline`."""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from api.cli import main

PROGRAM = str(Path(sys.executable).parent / "trunkline")
SECONDS_MAX = 60


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Its output, as one JSON value a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Operator:
    """Somebody at a terminal of the server's machine."""

    environment: dict[str, str]

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **environment},
        )

    def does(self, *arguments: str, **environment: str) -> Done:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=SECONDS_MAX)
        return Done(process.returncode, out, err)

    async def asks(self, *arguments: str) -> Done:
        """The same without a process of its own, which takes most of a second to begin."""
        runner = CliRunner(env=self.environment)
        result = await asyncio.to_thread(runner.invoke, main, arguments)
        return Done(result.exit_code, result.stdout, result.stderr)

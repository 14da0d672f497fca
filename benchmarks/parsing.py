"""Verifying and reading a webhook, against decoding its JSON (or XML) alone.

`python -m benchmarks.parsing` runs these rows alone. All is CPU time of one process: no server, no
database, so a machine that does other work changes little.
"""

import gc
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any
from xml.etree import ElementTree

import msgspec

from adapters import meta
from adapters.whatsapp import webhook as whatsapp
from benchmarks.table import Row, compare_times, console, show
from tests.adapters.recorded import PAYLOADS, recorded, signed
from tests.adapters.recorded import read as read_delivery

ROUNDS = 7
SECONDS = 0.1
BATCH = 100
CEILING = 1.5

Work = Callable[[], object]


@dataclass(frozen=True)
class Body:
    """A body of a webhook, and all that its adapter does with it."""

    content: bytes
    read: Work

    def decode(self) -> object:
        """Only its JSON or XML, into plain objects, as fast as we know."""
        if self.content.startswith(b"<"):
            return {each.tag: each.text for each in ElementTree.fromstring(self.content)}
        return msgspec.json.decode(self.content)

    def decode_with_the_standard_library(self) -> object:
        """The same with what comes with Python."""
        return self.decode() if self.content.startswith(b"<") else json.loads(self.content)


def measure() -> list[Row]:
    """A row for each platform's recorded deliveries, and for batches of those that have them."""
    recordings = _recordings()
    rows = [_compare(platform, bodies) for platform, bodies in recordings.items()]
    rows += [_compare(f"{name}, {BATCH} at a time", [body]) for name, body in _batches().items()]
    return rows


def _compare(what: str, bodies: list[Body]) -> Row:
    seconds: dict[str, list[float]] = {"ours": [], "decoding": [], "standard library": []}
    for _ in range(ROUNDS):
        seconds["ours"].append(_seconds([each.read for each in bodies]))
        seconds["decoding"].append(_seconds([each.decode for each in bodies]))
        works: list[Work] = [each.decode_with_the_standard_library for each in bodies]
        seconds["standard library"].append(_seconds(works))
    ours, decoding, standard = (median(each) for each in seconds.values())
    console.print(
        f"  webhook, {what}: {ours * 1e6:.1f} µs; decoding alone {decoding * 1e6:.1f} µs,"
        f" with the standard library {standard * 1e6:.1f} µs (÷ {ours / standard:.2f})"
    )
    name = f"verify and read a webhook ÷ decoding alone ({what}), in time"
    return compare_times(name, seconds["ours"], seconds["decoding"], CEILING)


def _seconds(works: list[Work]) -> float:
    """CPU time of one of them, on average."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    rounds = 0
    while time.process_time() - began < SECONDS:
        for _ in range(20):
            for work in works:
                work()
        rounds += 20
    gc.enable()
    return (time.process_time() - began) / rounds / len(works)


def _recordings() -> dict[str, list[Body]]:
    """All that are accepted; what is encrypted is left out: it has no document before that."""
    bodies = {"whatsapp": [_of_whatsapp(path.read_bytes()) for path in _whatsapp_files()]}
    for each in recorded():
        if each.expect and "encrypted" not in each.name:
            read = partial(read_delivery, each.platform, each.delivery)
            bodies.setdefault(each.platform, []).append(Body(each.delivery.body, read))
    return bodies


def _whatsapp_files() -> list[Any]:
    folder = PAYLOADS / "whatsapp"
    return sorted(each for each in folder.glob("*.json") if each.name != "manifest.json")


def _of_whatsapp(content: bytes) -> Body:
    secret = b"acme_meta_app_secret"
    signature = b"sha256=" + meta.signature(secret, content)

    def read() -> object:
        assert meta.verify(content, [signature], app_secrets=[secret])
        return whatsapp.parse(content)

    return Body(content, read)


def _batches() -> Mapping[str, Body]:
    """A text message of each platform that sends several at a time, so many of them."""
    names = {"whatsapp": "entry", "messenger": "entry", "line": "events"}
    bodies: dict[str, Body] = {}
    for platform, name in names.items():
        document = json.loads((PAYLOADS / platform / f"{platform}_text.json").read_bytes())
        document[name] = document[name][:1] * BATCH
        if platform == "whatsapp":
            bodies[platform] = _of_whatsapp(json.dumps(document).encode())
            continue
        account_id = document.get("destination")
        delivery = signed(platform, document, account_id=account_id)
        bodies[platform] = Body(delivery.body, partial(read_delivery, platform, delivery))
    return bodies


if __name__ == "__main__":
    show(measure())

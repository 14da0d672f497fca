"""Who may import whom, what the domain must not touch, and how long a file may be.

api         -> domain, projections      only the composition root -> adapters, migrations
adapters    -> domain
projections -> domain
migrations  -> nothing of ours
domain      -> the standard library, msgspec
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"domain", "projections", "adapters", "api", "migrations", "tests", "benchmarks"}

# What each package may import of ours, besides itself.
MAY_IMPORT = {
    "domain": set[str](),
    "projections": {"domain"},
    "adapters": {"domain"},
    "api": {"domain", "projections"},
    "migrations": set[str](),
}
# What plugs things together: what a process needs, what goes on in it, and the jobs on builds.
COMPOSITION_ROOT = {"api/main.py", "api/processes.py", "api/jobs.py"}

# Third parties, where not every one is welcome.
THIRD_PARTIES = {
    "domain": {"msgspec"},
    "projections": {"msgspec", "psycopg", "psycopg_pool"},
}

# The part of the standard library that knows no clock, no chance and no outside world.
PURE = {
    "abc",
    "base64",
    "bisect",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
}
# These are words in the domain's ports; nothing in the domain waits for one, or opens one.
ALSO_PURE = {
    ("domain/ports.py", "asyncio.Future"),
    ("domain/media_ports.py", "contextlib.AbstractAsyncContextManager"),
}
IMPURE = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "open",
    "input",
    "print",
    "exec",
    "eval",
    "__import__",
}

LINES_MAX = 420

SOURCES = sorted(
    path
    for package in MAY_IMPORT
    for path in (ROOT / package).rglob("*.py")
    if "__pycache__" not in path.parts
)

TESTS = sorted((ROOT / "tests").rglob("*.py"))

# As docstrings name them: `Spec S8.`
RULE = re.compile(r"\b[SCNLPERI][1-9]?[0-9]\b")
# As nobody can look them up: parts of pages that are not in the repository.
ELSEWHERE = re.compile(
    r"\([Cc]ontract\b|\bContract[:,]|\(section [0-9]|\b(?:[Ss]pec|Section|Reliability) [0-9]"
    r"|(?<!OWASP )\bAPI[0-9]+\b"
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file, wherever it stands in it: the line, and what is imported."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def is_allowed(path: Path, imported: str) -> bool:
    package = name_of(path).partition("/")[0]
    top = imported.partition(".")[0]
    if top in OURS:
        if name_of(path) in COMPOSITION_ROOT:
            return top in MAY_IMPORT
        return top == package or top in MAY_IMPORT[package]
    if top in sys.stdlib_module_names:
        return True
    return top in THIRD_PARTIES.get(package, {top})


def fail_with(faults: list[str], rule: str) -> None:
    if faults:
        pytest.fail("\n".join([rule, *faults]), pytrace=False)


def test_imports_point_one_way() -> None:
    fail_with(
        [
            f"  {name_of(path)}:{line} imports {imported}"
            for path in SOURCES
            for line, imported in imports(path)
            if not is_allowed(path, imported)
        ],
        "These imports cross the table at the top of tests/test_architecture.py:",
    )


def test_the_engine_knows_no_projection() -> None:
    """It is given them, so that one more needs no line there."""
    fail_with(
        [
            f"  {name_of(path)}:{line} imports {imported}"
            for path in SOURCES
            if name_of(path).startswith("projections/engine/")
            for line, imported in imports(path)
            if imported.startswith("projections.") and ".engine." not in imported
        ],
        "What runs projections names one of them:",
    )


def test_the_domain_touches_no_clock_no_chance_and_nothing_outside() -> None:
    faults = []
    for path in (path for path in SOURCES if name_of(path).startswith("domain/")):
        for line, imported in imports(path):
            top = imported.partition(".")[0]
            is_pure = top in PURE or (name_of(path), imported) in ALSO_PURE
            if top in sys.stdlib_module_names and not is_pure:
                faults.append(f"  {name_of(path)}:{line} imports {imported}")
        faults += [
            f"  {name_of(path)}:{line} uses {name}"
            for line, name in mentions(path)
            if name in IMPURE
        ]
    fail_with(faults, "Time, chance and the outside come to the domain as arguments:")


def mentions(path: Path) -> Iterator[tuple[int, str]]:
    """Every name in a file, called or handed on: the line, and its last two parts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, ".".join(ast.unparse(node).split(".")[-2:])


def test_the_readme_of_a_platform_says_what_each_of_its_files_does() -> None:
    faults = []
    for readme in sorted((ROOT / "adapters").glob("*/README.md")):
        told = readme.read_text()
        files = [each for each in readme.parent.glob("*.py") if not each.stem.startswith("fake_")]
        names = {each.name for each in files} - {"__init__.py"}
        faults += [
            f"  {name_of(readme)}: `{name}`" for name in sorted(names) if f"`{name}`" not in told
        ]
    fail_with(faults, "These files are not in the table of their README:")


def test_every_file_can_be_held_in_the_head() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    fail_with(
        [
            f"  {name_of(path)}: {length} lines"
            for path, length in lengths.items()
            if length > LINES_MAX and not name_of(path).startswith("migrations/")
        ],
        f"These files are longer than {LINES_MAX} lines; find what can stand alone in them:",
    )


# The test itself: it would see what it is there to see.


def test_every_rule_that_code_names_can_be_looked_up() -> None:
    # A row may be of two rules.
    first_cells = re.findall(r"^\| ([^|]+) \|", (ROOT / "RULES.md").read_text(), re.MULTILINE)
    listed = set(RULE.findall(" ".join(first_cells)))
    assert len(listed) > 50
    fail_with(
        [
            f"  {name_of(path)}:{line} names {rule}"
            for path in [*SOURCES, *TESTS]
            for line, text in enumerate(path.read_text().splitlines(), start=1)
            for rule in {*RULE.findall(text)} - listed | {*ELSEWHERE.findall(text)}
        ],
        "RULES.md has none of these:",
    )


@pytest.mark.parametrize(
    ("place", "imported", "allowed"),
    [
        ("domain/chat.py", "msgspec.structs", True),
        ("domain/chat.py", "domain.event.Event", True),
        ("domain/chat.py", "projections.inbox", False),
        ("domain/chat.py", "psycopg", False),
        ("projections/inbox/projection.py", "psycopg.rows.class_row", True),
        ("projections/inbox/projection.py", "httpx", False),
        ("projections/inbox/projection.py", "adapters.postgres.log", False),
        ("adapters/dispatcher.py", "httpx", True),
        ("adapters/dispatcher.py", "domain.ports", True),
        ("adapters/dispatcher.py", "api.commands", False),
        ("api/chats.py", "projections.inbox", True),
        ("api/chats.py", "adapters.postgres.log", False),
        ("api/chats.py", "migrations.apply", False),
        ("api/main.py", "adapters.postgres.log", True),
        ("api/main.py", "migrations.apply", True),
        ("api/main.py", "tests.conftest", False),
        ("migrations/apply.py", "domain.event", False),
        ("migrations/apply.py", "psycopg", True),
    ],
)
def test_the_table_reads_as_it_is_meant(place: str, imported: str, allowed: bool) -> None:
    assert is_allowed(ROOT / place, imported) is allowed


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(
        "import os.path as p\n"
        "from domain import chat, event\n"
        "def f():\n"
        "    from time import time\n"
        "    return datetime.datetime.now(tz=UTC), time()\n"
    )
    assert sorted(imports(source)) == [
        (1, "os.path"),
        (2, "domain.chat"),
        (2, "domain.event"),
        (4, "time.time"),
    ]
    assert {name for _, name in mentions(source)} & IMPURE == {"datetime.now"}

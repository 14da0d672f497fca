"""SQL lives in .sql files, in sections headed by a line `-- name --`."""

import re
from pathlib import Path

_COMMENT_OR_INDENT = re.compile(r"^ *--.*\n|^ +", re.MULTILINE)
_HEADING = re.compile(r"^-- ([a-z_]+) --$", re.MULTILINE)


def load(python_file: str) -> dict[str, str]:
    """The sections of the .sql file beside a Python file, by name."""
    text = Path(python_file).with_suffix(".sql").read_text(encoding="utf-8")
    _, *parts = _HEADING.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def compact(statement: str) -> str:
    """The same without comments and indentation.

    psycopg takes a statement of more than 4,096 characters apart anew each time it is executed.
    """
    return _COMMENT_OR_INDENT.sub("", statement)

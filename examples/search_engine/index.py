"""One shard's full-text index: a file of SQLite FTS5 that is written once, copied, checked and read."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from search_engine.corpus import Document

_SNIPPET = "snippet(documents, 1, '', '', ' … ', 24)"


def build(path: Path, documents: Iterable[Document]) -> str:
    """Writes an index of the documents, and returns its checksum."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE VIRTUAL TABLE documents USING fts5(title, text, tokenize='porter')")
        rows = ((document.title, document.text) for document in documents)
        database.executemany("INSERT INTO documents VALUES (?, ?)", rows)
    return checksum(path)


def search(path: Path, query: str, limit: int) -> list[dict[str, Any]]:
    """The best documents of this index, the best first, by BM25.

    The file is opened anew each time, so that one put in its place is used from the next query on.

    Raises:
        sqlite3.Error: The file is missing or broken.
    """
    words = re.findall(r"\w+", query)
    asked = " OR ".join(f'"{word}"' for word in words)
    if not asked:
        return []
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        rows = database.execute(
            f"SELECT title, {_SNIPPET}, -rank FROM documents WHERE documents MATCH ? ORDER BY rank LIMIT ?",
            (asked, limit),
        )
        return [{"title": title, "text": text, "score": round(score, 4)} for title, text, score in rows]


def checksum(path: Path) -> str:
    """SHA-256 of the file, or "" if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""

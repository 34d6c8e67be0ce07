"""Finds the paragraphs that a question is about: SQLite's full-text index over a few documents."""

import asyncio
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from nexus.resilience import CircuitBreaker, with_timeout

_WORD = re.compile(r"[a-z0-9]+")
_STOP_WORDS = frozenset(
    "a an and are at be can do does for how i in is it me my of on or the to we what when where you".split()  # noqa: SIM905  # words
)
_LONGEST_QUERY = 20


@dataclass(frozen=True)
class Passage:
    """A piece of a document."""

    source: str
    text: str


def build_index(documents: Path, index: Path) -> int:
    """Write the index of all Markdown files in a folder; returns how many there were."""
    index.unlink(missing_ok=True)
    connection = sqlite3.connect(index)
    try:
        with connection:
            connection.execute("CREATE VIRTUAL TABLE passages USING fts5(source, text, tokenize = 'porter')")
            rows = [(path.stem, path.read_text()) for path in sorted(documents.glob("*.md"))]
            connection.executemany("INSERT INTO passages VALUES (?, ?)", rows)
    finally:
        connection.close()
    return len(rows)


class Retrieval:
    """Searches the index, behind a breaker and within a time limit."""

    def __init__(self, index: Path, breaker: CircuitBreaker, seconds: float) -> None:
        self._index = index
        self.breaker = breaker
        self._guarded = breaker(with_timeout(seconds)(self._search_async))

    async def search(self, question: str, limit: int = 2) -> list[Passage]:
        """The best passages, best first; empty where nothing fits.

        Raises:
            CircuitOpenError: the breaker is open; nothing was tried.
            TimeoutExceededError: it took too long.
            sqlite3.Error: the index can't be read.
        """
        return await self._guarded(question, limit)

    async def _search_async(self, question: str, limit: int) -> list[Passage]:
        return await asyncio.to_thread(self._search, question, limit)

    def _search(self, question: str, limit: int) -> list[Passage]:
        words = [word for word in _WORD.findall(question.lower()) if word not in _STOP_WORDS]
        # Read-only: where the index is gone, that is an error and not a new, empty one.
        connection = sqlite3.connect(f"file:{self._index}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "SELECT source, text FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT ?",
                (" OR ".join(f'"{word}"' for word in words[:_LONGEST_QUERY]) or '""', limit),
            ).fetchall()
        finally:
            connection.close()
        return [Passage(source, text) for source, text in rows]

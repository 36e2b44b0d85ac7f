"""Conversations in a local SQLite file, if the user has turned that on.

One file holds the setting, the conversations and, if SQLite has FTS5, an index of their texts.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec

from acytoo.cli.exit_codes import print_error
from acytoo.cli.state import CONVERSATIONS, private_file, state_dir
from acytoo.errors import AcytooError, UsageError
from acytoo.messages import content_text

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, updated REAL NOT NULL, model TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
    conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    text TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (conversation, position)
);
"""
_INDEX = "CREATE VIRTUAL TABLE IF NOT EXISTS message_index USING fts5(text, conversation UNINDEXED, position UNINDEXED)"


class LoggedConversation(NamedTuple):
    """A conversation in the list: `updated` is in seconds since 1970, `text` is its first message or the match."""

    id: int
    updated: float
    model: str
    text: str


class ConversationLog:
    """The file with the conversations. Every method opens it for itself: other commands use it at the same time."""

    def __init__(self) -> None:
        self.path = state_dir() / CONVERSATIONS

    @property
    def is_on(self) -> bool:
        """Whether conversations are recorded."""
        if not self.path.exists():
            return False
        with closing(self._open()) as database:
            row = database.execute("SELECT value FROM settings WHERE name = 'on'").fetchone()
        return row is not None and bool(row[0])

    def turn(self, on: bool) -> None:
        """Turn recording on or off. What is recorded stays."""
        if not on and not self.path.exists():
            return
        with closing(self._open()) as database, database:
            database.execute("INSERT OR REPLACE INTO settings VALUES ('on', ?)", (on,))

    def save(self, number: int | None, model: str, messages: Sequence[dict[str, Any]]) -> int:
        """Record the messages as conversation `number`, or as a new one. Return its number."""
        documents = [msgspec.json.encode(message).decode() for message in messages]
        with closing(self._open()) as database, database:
            if number is not None:
                changed = database.execute(
                    "UPDATE conversations SET updated = ?, model = ? WHERE id = ?", (time.time(), model, number)
                )
                number = number if changed.rowcount else None  # somebody else may have deleted it
            if number is None:
                added = database.execute(
                    "INSERT INTO conversations (updated, model) VALUES (?, ?)", (time.time(), model)
                )
                number = int(added.lastrowid or 0)
            recorded = [
                row[0]
                for row in database.execute(
                    "SELECT document FROM messages WHERE conversation = ? ORDER BY position", (number,)
                )
            ]
            same = 0
            while same < min(len(recorded), len(documents)) and recorded[same] == documents[same]:
                same += 1
            self._replace(database, number, same, messages, documents)
        return number

    def _replace(
        self,
        database: sqlite3.Connection,
        number: int,
        start: int,
        messages: Sequence[dict[str, Any]],
        documents: Sequence[str],
    ) -> None:
        """Replace the messages of a conversation from `start` on."""
        has_index = _has_index(database)
        for table in ["messages", *(["message_index"] if has_index else [])]:
            database.execute(f"DELETE FROM {table} WHERE conversation = ? AND position >= ?", (number, start))
        for position in range(start, len(messages)):
            text = content_text(messages[position]["content"], lambda kind: None)
            database.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (number, position, text, documents[position]))
            if has_index:
                database.execute("INSERT INTO message_index VALUES (?, ?, ?)", (text, number, position))

    def search(self, query: str, limit: int) -> list[LoggedConversation]:
        """Return the latest conversations, the newest first; with a query, those with a message that has its words."""
        words = query.split()
        if not self.path.exists():
            return []
        with closing(self._open()) as database:
            if words and _has_index(database):
                condition = "(conversation, position) IN (SELECT conversation, position FROM message_index(?))"
                values = [" ".join(f'"{word}"*' for word in (word.replace('"', '""') for word in words))]
            else:
                condition = " AND ".join(["instr(lower(text), lower(?))"] * len(words)) or "TRUE"
                values = words
            # Of a conversation's matches, SQLite takes `text` from the row with the smallest position.
            rows = database.execute(
                "SELECT id, updated, model, text FROM ("
                "SELECT conversation, text, min(position) FROM messages "
                f"WHERE {condition} AND json_extract(document, '$.role') != 'system' GROUP BY conversation"
                ") JOIN conversations ON id = conversation ORDER BY updated DESC, id DESC LIMIT ?",
                (*values, limit),
            )
            return [LoggedConversation(*row) for row in rows]

    def read(self, number: int | None = None) -> tuple[int, str, list[dict[str, Any]]]:
        """Return the number, the model and the messages of a conversation, by default of the last one.

        Raises:
            UsageError: There is no such conversation.
        """
        found = None
        if self.path.exists():
            with closing(self._open()) as database:
                found = database.execute(
                    "SELECT id, model FROM conversations WHERE id = coalesce(?, id) "
                    "ORDER BY updated DESC, id DESC LIMIT 1",
                    (number,),
                ).fetchone()
                rows = database.execute(
                    "SELECT document FROM messages WHERE conversation = ? ORDER BY position", (found or (0,))[:1]
                ).fetchall()
        if found is None:
            missing = "no conversation is recorded" if number is None else f"no conversation {number} is recorded"
            raise UsageError(f"{missing}: `acytoo logs` lists them, `acytoo logs on` records new ones")
        return found[0], found[1], [msgspec.json.decode(row[0]) for row in rows]

    def delete(self, number: int) -> None:
        """Delete a conversation. Raises UsageError if there is no such conversation."""
        self.read(number)
        with closing(self._open()) as database:
            with database:
                self._replace(database, number, 0, [], [])
                database.execute("DELETE FROM conversations WHERE id = ?", (number,))
                if _has_index(database):  # it keeps deleted words until its segments are merged
                    database.execute("INSERT INTO message_index (message_index) VALUES ('optimize')")
            database.execute("VACUUM")  # the file keeps deleted rows until then

    def _open(self) -> sqlite3.Connection:
        try:
            private_file(CONVERSATIONS)
            database = sqlite3.connect(self.path, timeout=10)
            database.executescript(_SCHEMA)
            try:
                database.execute(_INDEX)
            except sqlite3.OperationalError:
                pass  # this SQLite has no FTS5
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"cannot open {self.path}: {error}") from None
        return database


def _has_index(database: sqlite3.Connection) -> bool:
    """Return whether there is an index that this SQLite can use."""
    try:
        database.execute("SELECT 1 FROM message_index('x') LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True


class Recorder:
    """Records one conversation after each turn, if recording is on. `number` is None before the first one."""

    def __init__(self, log: ConversationLog, number: int | None = None) -> None:
        self._log = log
        self.number = number

    def record(self, model: str, messages: list[dict[str, Any]]) -> None:
        """Record the messages. A failure is reported and does not end the conversation."""
        if "://" in model:  # a URL may contain a password
            model = ""
        try:
            self.number = self._log.save(self.number, model, messages)
        except (sqlite3.Error, AcytooError) as error:
            print_error(f"the conversation is not recorded: {error}")

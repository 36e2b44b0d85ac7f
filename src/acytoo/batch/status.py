"""How far a batch is, from its files alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from acytoo.batch.ids import IdSet
from acytoo.batch.output import errors_path, is_being_written, read_fingerprint, read_lines
from acytoo.batch.submitted import count_submitted
from acytoo.batch.table import checkpoint_of
from acytoo.errors import UsageError


class Status(msgspec.Struct):
    """What the files of a batch contain.

    `errors` are those of rows without a reply, by class; `submitted` are rows that the provider has in its own batches.
    """

    replies: int = 0
    errors: dict[str, int] = {}
    retryable: int = 0
    submitted: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    is_running: bool = False
    options: dict[str, str] = {}


def status_of(path: Path) -> Status:
    """Return the status of a batch by its output. Raises UsageError if that is not the output of a batch."""
    output, path = path, checkpoint_of(path)
    fingerprint = read_fingerprint(path)
    if fingerprint is None or not path.exists():
        raise UsageError(f"{output} is not the output of a batch")
    status = Status(submitted=count_submitted(path), is_running=is_being_written(path), options=fingerprint.options)
    done = IdSet()
    for line in read_lines(path):
        if line.row_id is not None and done.add(line.row_id):
            tokens = line.token_counts
            status.input_tokens += tokens[0]
            status.output_tokens += tokens[1]
    status.replies = len(done)
    failed = IdSet()
    for line in read_lines(errors_path(path)):
        id = line.row_id
        if id is None or (id not in done and failed.add(id)):
            name = line.error if isinstance(line.error, str) else "error"
            status.errors[name] = status.errors.get(name, 0) + 1
            status.retryable += line.retryable
    return status

"""A program that registers one ticket and says when it is safe, to be killed on the way."""

from __future__ import annotations

import os
from pathlib import Path

from dtms_client import DtmsClient


def live(url: str, outbox: str, ticket: int, said: str, *, hand_over: bool) -> None:
    """Register; the ticket is appended to the file ``said`` as soon as the client says that it is safe.

    ``hand_over``: leave the sending to the background thread, as a caller inside a running loop does.
    """
    os.environ.update({"DTMS_API_URL": url, "DTMS_SPOOL_DIR": outbox})
    client = DtmsClient(timeout=2.0, retries=1)
    register = client.enqueue if hand_over else client.register
    if register(ticket, {"source": "crashing"}).safe:
        acknowledge(Path(said), ticket)
    if hand_over:
        client.flush(5.0)


def acknowledge(said: Path, ticket: int) -> None:
    """Append a ticket to a file; a death right after does not undo it."""
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{ticket}\n".encode())
    os.close(handle)


def acknowledged(said: Path) -> set[int]:
    """What the file holds."""
    return {int(line) for line in said.read_text().split()} if said.exists() else set()

"""What is written about the service itself: one event per line, to standard error and to a rotating file.

Everybody logs through the standard library: the message is the event's name (``cycle_incomplete``), facts travel in
``extra``. People at a terminal get text, everything else JSON. Secrets never get out; a full disk costs lines, no more.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog

from dtms_service import private

FILE = "dtms.log"
FILE_BYTES = 10 * 1024 * 1024
FILES = 5
HIDDEN = "***"
TALKATIVE = ("alembic", "httpx", "asyncio")
"""Libraries whose steps are not an operator's business below a warning."""
_SECRET_KEYS = frozenset({"authorization", "login", "password", "secret", "token"})
_BEARER = re.compile(r"(?i)\bbearer\s+\S+")


class _Forgiving:
    """A handler that counts what it could not write instead of telling standard error or the caller."""

    dropped = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Count a lost line."""
        del record
        self.dropped += 1


class Console(_Forgiving, logging.StreamHandler[TextIO]):
    """Standard error."""


class File(_Forgiving, RotatingFileHandler):
    """The rotating file; on Windows a reader may hold it, and then a rotation waits for the next line."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=private.opener)


class Redacted(logging.Formatter):
    """Another formatter's line without secrets: known values and bearer tokens are replaced wherever they appear."""

    def __init__(self, inner: logging.Formatter, secrets: Sequence[str]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = tuple(secret for secret in secrets if secret)

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = _BEARER.sub(f"Bearer {HIDDEN}", self._inner.format(record))
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line


def start(level: str, folder: Path | None, secrets: Sequence[str] = (), stream: TextIO | None = None) -> None:
    """Send all events of ``level`` and above to ``stream`` (standard error) and to ``<folder>/dtms.log``.

    Replaces what was set up before. A folder that cannot be written costs the file, not the service.
    """
    out = sys.stderr if stream is None else stream
    plain = structlog.processors.JSONRenderer(default=str)
    lively = structlog.dev.ConsoleRenderer(colors=out.isatty(), event_key="event") if out.isatty() else plain
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Forgiving):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level.upper())
    for talkative in TALKATIVE:
        logging.getLogger(talkative).setLevel(logging.WARNING)
    console = Console(out)
    console.setFormatter(Redacted(_formatter(lively), secrets))
    root.addHandler(console)
    if folder is not None:
        try:
            private.folder(folder)
            for older in folder.glob(f"{FILE}.*"):
                private.closed(older)
            file = File(folder / FILE, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8")
        except OSError as error:
            logging.getLogger(__name__).warning(
                "log_file_unavailable", extra={"folder": str(folder), "why": str(error)}
            )
            return
        file.setFormatter(Redacted(_formatter(plain), secrets))
        root.addHandler(file)


def _formatter(renderer: structlog.typing.Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[
            _timed,
            structlog.stdlib.add_log_level,
            _named,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _hidden,
            *(
                [structlog.processors.format_exc_info]
                if isinstance(renderer, structlog.processors.JSONRenderer)
                else []
            ),
            renderer,
        ],
    )


def _timed(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """When the event happened, by the machine's clock, as the standard library noted it."""
    created = datetime.fromtimestamp(event["_record"].created, UTC)
    return {"time": created.isoformat(timespec="milliseconds")[:-6] + "Z", **event}


def _named(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["logger"] = event["_record"].name
    return event


def _hidden(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: HIDDEN if key.lower() in _SECRET_KEYS else value for key, value in event.items()}

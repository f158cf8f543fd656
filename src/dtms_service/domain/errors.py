"""Errors that cross rooms. Each class has a stable ``code``; its docstring is the default message."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar


class DtmsError(Exception):
    """Something went wrong inside DTMS."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str | None = None, **facts: Any) -> None:
        super().__init__(detail or inspect.cleandoc(type(self).__doc__ or ""))
        self.facts: Mapping[str, Any] = facts
        """Values that belong in the answer beside the sentence, JSON only."""

    @property
    def detail(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class Invalid(DtmsError):
    """The request does not make sense; nothing was changed."""

    code = "validation_failed"


class TradeNotFound(DtmsError):
    """No trade with this ticket or identifier is registered here. Register it first with PUT /dtms/trades/{ticket}."""

    code = "trade_not_found"


class RegistrationConflict(DtmsError):
    """The registration contradicts what the terminal shows. The terminal is the truth; nothing was changed."""

    code = "registration_conflict"


class AlertNotFound(DtmsError):
    """There is no alert with this id. GET /dtms/alerts lists what there is."""

    code = "not_found"


class NotInThisMode(DtmsError):
    """This operation does not exist in the mode the service runs in."""

    code = "not_in_this_mode"


class NotAccepting(DtmsError):
    """The service cannot store registrations yet. Keep the registration and try again."""

    code = "not_accepting"


class NoAnswer(NotAccepting):
    """It may have been done and it may not. Look before you try again."""


class StorageBusy(DtmsError):
    """The database is locked by another process; nothing was written. Try again."""

    code = "storage_busy"


class StorageFailed(DtmsError):
    """A commit failed and may or may not be on disk. The service stops, because only the disk knows the truth."""

    code = "storage_failed"

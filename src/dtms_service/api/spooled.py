"""What arrives as files instead of requests: the same validation, the same problem document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from dtms_client.wire import TRADES, AnnouncementIn, BatchItemIn
from dtms_service.api.convert import owner
from dtms_service.api.convert import registration as converted
from dtms_service.api.errors import problem, row_of
from dtms_service.api.exchange import parse, printable
from dtms_service.domain.admission import Registration
from dtms_service.domain.errors import DtmsError
from dtms_service.domain.unmanaged import Announcement

_ITEM = TypeAdapter(BatchItemIn)
_SAID = TypeAdapter(AnnouncementIn)


def registration(body: Mapping[str, Any]) -> Registration:
    """A registration out of what a client stored. Raises `Invalid` as the HTTP path would."""
    item = parse(_ITEM, to_json(body), strict=False)  # it was accepted once: nothing is lost for its form
    return converted(item.ticket, item)


def announcement(name: str, body: Mapping[str, Any], after: float) -> Announcement:
    """An announcement out of what a client stored in file ``name`` later than ``after``. Raises `Invalid`."""
    said = parse(_SAID, to_json(body))
    return Announcement(
        name=name,
        symbol=printable("symbol", said.symbol),
        magic=said.magic,
        after=after,
        strategy_type=printable("strategy_type", said.strategy_type or "") or None,
        managed_by=owner(said.managed_by),
        source=printable("source", said.source or "") or None,
    )


def refusal(error: DtmsError, name: str) -> Mapping[str, Any] | None:
    """The problem document of a decision against the registration in file ``name``; None when trying again may help."""
    if row_of(type(error)).retryable:
        return None
    return problem(error, f"{TRADES}/spool", name)

"""Which positions are about to be opened? Said on disk before the order is sent, so that a death in between is noticed.

::

    with client.protecting("XAUUSD", magic=770) as trade:          # fsynced: "an order with magic 770 may go out"
        result = mt5.order_send(request)                            # dies here: the service finds the position by magic
        trade.opened(result.order, result)                          # registered, or on disk
                                                                    # the announcement is withdrawn

The announcement stands for one position: the first ``opened()`` that succeeds settles it. A block that ends by an
exception before that leaves it: whether the order went out is not known. An announcement that cannot be stored is
logged and breaks nothing: the order still goes out, and the registration after it is what counts.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from dtms_client.delivery import Outbox
from dtms_client.errors import Invalid, OutboxUnavailable
from dtms_client.spool import Entry
from dtms_client.wire import AnnouncementIn
from dtms_client.wiring import program

R = TypeVar("R")
_NUMBERS = itertools.count()
_log = logging.getLogger("dtms_client")


class Opening(Generic[R]):
    """What the ``with`` block of ``protecting`` gives."""

    def __init__(self, register: Callable[..., R], shared: Mapping[str, Any], *, announced: bool) -> None:
        self._register = register
        self._shared = shared
        self.announced = announced
        """False: the announcement could not be stored; the log says why."""

    def opened(self, ticket: object, trade_data: object = None, **fields: Any) -> R:
        """Register the position that came of it, which settles the announcement; as ``register``.

        May be called for each of several.
        """
        return self._register(ticket, trade_data, **{**self._shared, **fields})


class Said:
    """An announcement; ``on_disk`` until it is settled, or never when it could not be stored."""

    def __init__(self, outbox: Outbox, entry: Entry | None) -> None:
        self._outbox = outbox
        self._entry = entry

    @property
    def on_disk(self) -> bool:
        """True while the service would find the position if this program died."""
        return self._entry is not None

    def settle(self) -> None:
        """It is known what became of it: withdraw it. Once more is fine."""
        entry, self._entry = self._entry, None
        self._outbox.remove(entry)


@contextmanager
def announced(outbox: Outbox, symbol: str, magic: int, fields: Mapping[str, Any]) -> Iterator[Said]:
    """Keep an announcement while the block runs, or until it is settled. Raises `Invalid`."""
    said = Said(outbox, _stored(outbox, _announcement(symbol, magic, fields)))
    try:
        yield said
    except BaseException:
        if said.on_disk:
            _log.warning(
                "%s, magic %s: left announced, because it is not known whether an order went out", symbol, magic
            )
        raise
    said.settle()


def _announcement(symbol: str, magic: int, fields: Mapping[str, Any]) -> AnnouncementIn:
    unique = f"{os.getpid()}-{next(_NUMBERS)}"
    try:
        return AnnouncementIn.model_validate(
            {"symbol": symbol, "magic": magic, "source": program(), **fields, "process": os.getpid(), "unique": unique}
        )
    except ValidationError as error:
        raise Invalid(f"this cannot be announced: {error}") from error


def _stored(outbox: Outbox, said: AnnouncementIn) -> Entry | None:
    if outbox.mode == "off":
        return None
    try:
        return outbox.announce(said.model_dump(exclude_none=True))
    except OutboxUnavailable as error:
        _log.error("%s, magic %s is not announced: %s", said.symbol, said.magic, error.detail)
        return None

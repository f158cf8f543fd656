"""One magic number per intent: how our own orders, positions and deals are recognised at the broker.

15 decimal digits: base (4) ++ instance (3, drawn when the database was created) ++ sequence (8). Below 2**53, so that
no JSON reader rounds it; MetaTrader stores it as an unsigned 64-bit integer on orders, deals and positions.
"""

from __future__ import annotations

BASE = 4454
"""First four digits of every magic of ours."""

_INSTANCE = 10**8
_BASE = 10**11


def make(instance: int, sequence: int) -> int:
    """The magic of intent number ``sequence`` (1 to 99,999,999) of database ``instance`` (0 to 999)."""
    if not 0 <= instance <= 999 or not 1 <= sequence < _INSTANCE:
        message = f"no magic for instance {instance}, sequence {sequence}"
        raise ValueError(message)
    return BASE * _BASE + instance * _INSTANCE + sequence


def ours(magic: int) -> bool:
    """True when a DTMS service, this or another database of it, made the order."""
    return magic // _BASE == BASE


def sequence_of(magic: int, instance: int) -> int | None:
    """The sequence of a magic of this database, None for any other."""
    return magic % _INSTANCE if magic // _INSTANCE == BASE * 1000 + instance else None

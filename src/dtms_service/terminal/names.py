"""One instrument under another name: brokers decorate symbols (XAUUSDc, EURUSD.pro, #BTCUSD, BTCUSDm).

A position's own symbol is always right. This is for a name that the terminal does not have, as after a broker has
renamed its symbols; a wrong instrument would be worse than none, so nothing is guessed between two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SHORTEST = 3
"""Letters that a plain name has at least: a decorated X may be anything."""
_PREFIX = re.compile(r"[#.]?")
_SUFFIX = re.compile(r"[a-z]{1,5}|[._\-+#!^@&][A-Za-z0-9]{0,6}[+#!]?")
"""Small letters at once, or a mark with up to six letters. A capital letter alone is another instrument: BTCUSDT."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """More than one name fits."""

    names: tuple[str, ...]


def match(symbol: str, names: Iterable[str]) -> str | Ambiguous | None:
    """The broker's name for ``symbol``: itself, itself in other case, or the only one that decorates it or is it plain.

    None when none fits, `Ambiguous` when two do.
    """
    known = sorted(set(names))
    if symbol in known:
        return symbol
    for fits in (_same_letters, _decorates):
        found = tuple(name for name in known if fits(name, symbol))
        if found:
            return found[0] if len(found) == 1 else Ambiguous(found)
    return None


def _same_letters(name: str, symbol: str) -> bool:
    return name.upper() == symbol.upper()


def _decorates(name: str, symbol: str) -> bool:
    return _is_plain_of(symbol, name) or _is_plain_of(name, symbol)


def _is_plain_of(plain: str, decorated: str) -> bool:
    start = len(_PREFIX.match(decorated)[0])  # type: ignore[index]  # the pattern matches nothing too
    end = start + len(plain)
    if len(plain) < _SHORTEST or decorated[start:end].upper() != plain.upper():
        return False
    rest = decorated[end:]
    return _SUFFIX.fullmatch(rest) is not None or (not rest and start > 0)

"""What is known of each symbol: its contract facts, the broker's own name for it, the filling modes that work."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from dtms_service.domain.outcome import Done, Outcome
from dtms_service.domain.values import SymbolSpec
from dtms_service.terminal import convert, names, results
from dtms_service.terminal.link import Call, Result, call
from dtms_service.terminal.requests import fillings
from dtms_service.terminal.results import Row

Answer = Awaitable[Outcome[tuple[Result, ...]]]

SEARCH_S = 900.0
"""Seconds until a name that the broker does not have is looked for again: that reads thousands of symbols."""

log = logging.getLogger(__name__)


class Symbols:
    """Asked for by the names the engine uses; a symbol that was renamed goes on under its old one."""

    def __init__(
        self, ask: Callable[[Sequence[Call]], Answer], list_all: Callable[[], Answer], now: Callable[[], float]
    ) -> None:
        """``ask`` is one exchange with the terminal, ``list_all`` its ``symbols_get``; ``now`` the engine clock."""
        self._ask = ask
        self._list_all = list_all
        self._now = now
        self._facts: dict[str, Row] = {}
        self._fillings: dict[str, tuple[int, ...]] = {}
        self._searched: dict[str, float] = {}

    def facts(self, symbol: str) -> Row | None:
        """``symbol_info`` as it was read last; None when it never was."""
        return self._facts.get(symbol)

    def name(self, symbol: str) -> str:
        """The broker's name; the symbol itself until its facts were read."""
        info = self._facts.get(symbol)
        return symbol if info is None else str(info["name"])

    def fillings(self, info: Row) -> tuple[int, ...]:
        """Filling modes that may work, best first."""
        return self._fillings.setdefault(info["name"], fillings(info))

    def drop_filling(self, info: Row) -> tuple[int, ...]:
        """What is left after the first of them was refused."""
        self._fillings[info["name"]] = self.fillings(info)[1:]
        return self._fillings[info["name"]]

    async def learn(self, symbols: Sequence[str]) -> Outcome[Mapping[str, SymbolSpec]]:
        """Select each symbol and read its facts, under the name that was asked for.

        Left out: what the terminal does not have under any name, and what it cannot tell now. Unknown only when
        nothing can be read at all.
        """
        found: dict[str, SymbolSpec] = {}
        read = await self._read({symbol: symbol for symbol in symbols}, found)
        if not isinstance(read, Done):
            return read
        renamed = await self._renamed(read.value)
        if renamed:
            read = await self._read(renamed, found)
        return Done(found) if isinstance(read, Done) else read

    async def _read(self, wanted: Mapping[str, str], found: dict[str, SymbolSpec]) -> Outcome[tuple[str, ...]]:
        """Facts of ``wanted`` (name asked for -> broker's name) into ``found``; the names that the terminal lacks."""
        calls = [each for name in wanted.values() for each in (call("symbol_select", name), call("symbol_info", name))]
        read = await self._ask(calls)
        if not isinstance(read, Done):
            return read
        missing = []
        for symbol, result in zip(wanted, read.value[1::2], strict=True):
            info = results.structure("symbol_info", result)
            spec = results.understood("symbol_info", convert.spec, info.value) if isinstance(info, Done) else info
            if isinstance(info, Done) and isinstance(spec, Done):
                self._know(symbol, info.value)
                found[symbol] = replace(spec.value, name=symbol)
            elif result.code in results.LINK_LOST:
                return results.failure("symbol_info", result)
            elif result.code == results.NOT_FOUND:
                missing.append(symbol)
            elif not isinstance(spec, Done):
                log.warning("symbol_unread", extra={"symbol": symbol, "code": spec.code, "detail": spec.detail})
        return Done(tuple(missing))

    def _know(self, symbol: str, info: Row) -> None:
        before = self._facts.get(symbol)
        if before is not None and fillings(before) != fillings(info):
            self._fillings.pop(info["name"], None)
        self._facts[symbol] = self._facts[info["name"]] = info

    async def _renamed(self, missing: Sequence[str]) -> dict[str, str]:
        """Where the broker has ``missing`` symbols under another name; the others are told in the log."""
        now = self._now()
        due = [symbol for symbol in missing if now - self._searched.get(symbol, float("-inf")) >= SEARCH_S]
        if not due:
            return {}
        read = await self._list_all()
        known = results.structures("symbols_get", read.value[0], _name) if isinstance(read, Done) else read
        if not isinstance(known, Done):
            return {}
        renamed = {}
        for symbol in due:
            self._searched[symbol] = now
            name = names.match(symbol, known.value)
            if isinstance(name, str):
                log.warning("symbol_renamed", extra={"symbol": symbol, "now": name})
                renamed[symbol] = name
            else:
                log.warning("symbol_unknown", extra={"symbol": symbol, "fits": name.names if name is not None else ()})
        return renamed


def _name(row: Row) -> str:
    return str(row["name"])

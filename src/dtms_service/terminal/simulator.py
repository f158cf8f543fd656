"""Control over the simulated broker, over the same link as the gateway. Satisfies ``engine.ports.SimulatedMarket``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtms_service.domain.errors import DtmsError, Invalid, NoAnswer, NotAccepting
from dtms_service.domain.outcome import Done, Refused
from dtms_service.terminal.link import Link, call

CONTROL_S = 60.0
"""A step of days plays hundreds of thousands of ticks."""

_ONCE = frozenset({"open_position", "change_position", "close_position", "set_fault"})
"""What is not simply done again when nobody knows whether it was done."""


class SimulatorControl:
    """Questions to the simulated terminal that MetaTrader does not have. Faults never hit them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def clock(self) -> Mapping[str, Any]:
        """See the port."""
        return await self._ask("clock")

    async def advance(self, until: float) -> float:
        """See the port."""
        return float(await self._answer("advance", until))

    async def view(self, what: str) -> Mapping[str, Any]:
        """See the port."""
        return await self._ask("view", what)

    async def open_position(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """See the port."""
        return await self._ask("open_position", dict(body))

    async def change_position(self, ticket: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """See the port."""
        return await self._ask("change_position", ticket, dict(body))

    async def close_position(self, ticket: int, volume: float | None) -> Mapping[str, Any]:
        """See the port."""
        return await self._ask("close_position", ticket, volume)

    async def set_fault(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """See the port."""
        return await self._ask("set_fault", dict(body))

    async def clear_faults(self) -> Mapping[str, Any]:
        """See the port."""
        return await self._ask("clear_faults")

    async def market(self, symbol: str, timeframe: str, count: int) -> Mapping[str, Any]:
        """See the port."""
        return await self._ask("market", symbol, timeframe, count)

    async def _ask(self, name: str, *args: Any) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await self._answer(name, *args)
        return answer

    async def _answer(self, name: str, *args: Any) -> Any:
        answer = await self._link.ask([call(f"simulator_{name}", *args)], CONTROL_S)
        if isinstance(answer, Refused):
            message = f"The simulated terminal was not reached ({answer.detail}). Try again."
            raise NotAccepting(message)
        if not isinstance(answer, Done):
            if name in _ONCE:
                message = f"The simulated terminal did not answer ({answer.detail}). Look whether it was done."
                raise NoAnswer(message)
            message = f"The simulated terminal did not answer ({answer.detail}). Try again."
            raise NotAccepting(message)
        (result,) = answer.value.results
        if result.raised == "ValueError":
            raise Invalid(result.text)
        if result.raised is not None:
            message = f"the simulated terminal failed: {result.raised} {result.text}"
            raise DtmsError(message)
        return result.value

"""Hundreds of orders at a terminal that loses replies, executes late and fails to read: each takes effect once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from intent_run import NERVOUS, Account, run

from dtms_service.domain.orders import ModifyStops, Order
from dtms_service.domain.outcome import Unknown
from dtms_service.terminal import gateway, requests
from dtms_service.terminal.gateway import Gateway

EVERYDAY = 100
NO_WINDOW = replace(NERVOUS, settle_market_s=0.0, settle_reads=1)


def sends_again(patch: pytest.MonkeyPatch) -> None:
    sent = Gateway._sent

    async def twice(self: Gateway, request: Any) -> Any:
        outcome = await sent(self, request)
        return await sent(self, request) if isinstance(outcome, Unknown) else outcome

    patch.setattr(Gateway, "_sent", twice)


def loosens(patch: pytest.MonkeyPatch) -> None:
    def request_of(order: Order, *of: Any) -> dict[str, Any]:
        request = requests.request_of(order, *of)
        return {**request, "sl": round(request["sl"] / 2, 2)} if isinstance(order, ModifyStops) else request

    patch.setattr(gateway, "request_of", request_of)


def nothing(_: pytest.MonkeyPatch) -> None:
    return None


async def test_no_order_takes_effect_twice_and_no_stop_is_loosened(tmp_path: Path) -> None:
    account = await run(tmp_path, 1, EVERYDAY)
    assert account.broken == []
    assert account.intents >= EVERYDAY
    assert account.counts["lost and not done"] > 0
    assert account.counts["replies lost or late"] > EVERYDAY // 30
    assert account.counts["failed reads"] > account.counts["reads"] // 20


@pytest.mark.parametrize(
    ("breaks", "parameters", "words"),
    [
        (sends_again, NERVOUS, "has 2 deals"),
        (nothing, NO_WINDOW, "planned"),
        (loosens, NERVOUS, "the stop of"),
    ],
    ids=["an order without an answer is sent again", "no settle window", "a looser stop"],
)
async def test_a_build_without_the_protection_is_found(
    breaks: Callable[[pytest.MonkeyPatch], None],
    parameters: Any,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks(monkeypatch)
    account: Account = await run(tmp_path, 1, EVERYDAY, parameters=parameters)
    assert any(words in each for each in account.broken), account.broken

"""Reads that fail lose no trade, close none and change none. All of it: `scripts/prove.py reads`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from failing_reads import CALM, NERVOUS, READS, Outcome, failing, none, omitted, run

from dtms_service.domain.parameters import Parameters


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return asyncio.run(run(tmp_path_factory.mktemp("calm"), {}))


@pytest.mark.parametrize(("call", "symbol"), READS)
async def test_one_none_from_any_read_changes_nothing(
    tmp_path: Path, calm: Outcome, call: str, symbol: str | None
) -> None:
    assert await run(tmp_path, {1: none(call, symbol)}) == calm
    await run(tmp_path / "nervous", {10: none(call, symbol)}, NERVOUS)


@pytest.mark.parametrize("parameters", [CALM, NERVOUS], ids=["calm", "nervous"])
async def test_a_third_of_all_reads_failing_for_half_an_hour_loses_no_trade(
    tmp_path: Path, parameters: Parameters
) -> None:
    await run(tmp_path, {0: failing(1, 60)}, parameters, cycles=65)


@pytest.mark.parametrize("reads", [1, 2])
@pytest.mark.parametrize("which", range(6))
async def test_a_position_missing_from_a_read_is_still_protected(
    tmp_path: Path, calm: Outcome, which: int, reads: int
) -> None:
    ticket = sorted(calm.trades)[which]
    assert await run(tmp_path, {5: omitted(ticket, reads)}) == calm
    await run(tmp_path / "nervous", {10: omitted(ticket, reads)}, NERVOUS)

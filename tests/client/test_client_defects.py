"""Mistakes of earlier ways to register a trade that ours could repeat: one test each, numbered as in defects.md."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from client_world import listening

import dtms_client
from dtms_client.errors import Invalid
from dtms_client.register import understand
from dtms_client.spool import entries
from dtms_client.testing import FakeDtms


@pytest.mark.parametrize("word", ["BUY", "buy", "LONG", "long", 0])
def test_d25_a_direction_in_any_spelling_is_the_same_direction(word: object) -> None:
    (item,) = understand(1, {"direction": word}).items
    assert item.side == "BUY"


@pytest.mark.parametrize("word", ["up", "B", "0.5", 9])
def test_d25_a_direction_that_is_none_is_refused_and_not_taken_for_a_sell(word: object) -> None:
    with pytest.raises(Invalid):
        understand(1, {"direction": word})


def test_d54_what_programs_import_is_there_and_delivers(dtms: FakeDtms, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(dtms) as address:
        monkeypatch.setenv("DTMS_API_URL", address)
        assert dtms_client.auto_register_dtms(7, {"symbol": "EURUSD"}) is True
        assert asyncio.run(dtms_client.register_trade_with_dtms_api(8, {"ticket": 8})) is True  # a ticket alone
    assert set(dtms.trades) == {7, 8}


def test_d54_a_registration_that_did_not_arrive_is_told_and_kept(
    outbox_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(dtms_client.register_trade_with_dtms_api(8, {"ticket": 8})) is False
    assert [entry.load().body["ticket"] for entry in entries(outbox_dir)] == [8]
    assert "8" in caplog.text

"""The rules' numbers as settings: each is held to its limits, and to the others, before anything starts."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import pytest

from dtms_service import cli
from dtms_service.domain.bounds import LIMITS, ORDERS, broken
from dtms_service.domain.parameters import Parameters
from dtms_service.settings.loading import Misconfigured, load

P = Parameters()
NUMBERS = [item.name for item in fields(Parameters) if not isinstance(item.default, str | bool)]
ENDS = [(name, end) for name in LIMITS for end in ("least", "most")]

FLOORS = {
    # RULINGS R1, R2, R4, R6, R14, R16, R27 and engine.md D4: more care than this may be chosen, less may not.
    "r_valid_atr": 0.5,
    "r_valid_spreads": 4,
    "noise_floor_atr": 0.5,
    "hedge_room_atr": 1,
    "verify_absence_s": 600,
    "verify_absence_reads": 5,
    "stop_removed_wait_s": 60,
    "settle_market_s": 60,
    "settle_request_s": 180,
    "settle_reads": 3,
    "pending_reject_s": 60,
}
CEILINGS = {
    # engine.md C-9 and B7.7, RULINGS R5; a stop loss is at -1 R.
    "partial_fraction": 0.5,
    "spread_defer_s": 300,
    "max_hedges": 1,
    "tighten_r": 1,
}


def toml(numbers: Mapping[str, float]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in numbers.items())


def chosen(tmp_path: Path, lines: str) -> Parameters:
    """What the service would run with."""
    (tmp_path / "dtms.toml").write_text(f"[engine]\n{lines}\n")
    environ = {"DTMS_STATE_DIR": str(tmp_path), "DTMS_CONFIG": str(tmp_path / "dtms.toml")}
    return load(environ=environ, mt5_importable=False).settings.engine


def end_of(name: str, end: str) -> float:
    return LIMITS[name].least if end == "least" else LIMITS[name].most


def with_number(name: str, number: float) -> Parameters:
    value = getattr(P, name)
    return replace(P, **{name: (number,) if isinstance(value, tuple) else type(value)(number)})


def test_every_number_of_the_rules_has_limits_and_every_limit_is_of_one() -> None:
    assert sorted(LIMITS) == sorted(NUMBERS)


def test_the_defaults_are_allowed() -> None:
    assert broken(P) is None


@pytest.mark.parametrize(("name", "end"), ENDS)
def test_a_limit_itself_is_allowed_and_what_lies_beyond_is_not(name: str, end: str) -> None:
    limit, away = end_of(name, end), -math.inf if end == "least" else math.inf
    whole = isinstance(getattr(P, name), int)
    at, beyond = with_number(name, limit), limit + math.copysign(1, away) if whole else math.nextafter(limit, away)
    wrong = broken(at)
    assert wrong is None or len(wrong.names) == 2, "only another number may be in its way"
    wrong = broken(with_number(name, beyond))
    assert wrong is not None
    assert wrong.names == (name,)
    assert "is not between" in wrong.sentence


@pytest.mark.parametrize(("name", "end"), ENDS)
def test_a_number_beyond_its_limit_stops_the_start_with_one_sentence(tmp_path: Path, name: str, end: str) -> None:
    beyond = end_of(name, end) + (-1 if end == "least" else 1)
    shown = f"[{beyond}]" if isinstance(getattr(P, name), tuple) else f"{beyond}"
    with pytest.raises(Misconfigured) as caught:
        chosen(tmp_path, f"{name} = {shown}")
    least, most = LIMITS[name]
    sentence = f"engine.{name} ({tmp_path / 'dtms.toml'}): {beyond:g} is not between {least:g} and {most:g}. Try: "
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("name", FLOORS)
def test_no_choice_is_less_careful_than_a_ruling(name: str) -> None:
    assert LIMITS[name].least == FLOORS[name]


@pytest.mark.parametrize("name", CEILINGS)
def test_no_choice_takes_more_than_a_ruling_allows(name: str) -> None:
    assert LIMITS[name].most == CEILINGS[name]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_what_is_no_finite_number_is_refused(tmp_path: Path, number: str) -> None:
    for name in ("tighten_r", "l1_score", "rsi_full"):
        with pytest.raises(Misconfigured, match=rf"engine\.{name}"):
            chosen(tmp_path, f"{name} = {number}")


def test_each_wait_of_a_list_is_held_to_the_limits(tmp_path: Path) -> None:
    assert chosen(tmp_path, "retry_backoff_s = [1, 2.5]").retry_backoff_s == (1.0, 2.5)
    with pytest.raises(Misconfigured, match=r"engine\.retry_backoff_s .*: 0 is not between 1 and 3600"):
        chosen(tmp_path, "retry_backoff_s = [1, 0]")


AT_THE_EDGE = {
    # What must hold: (numbers that just hold it, the one that then breaks it)
    "l2_score < l1_score": ({"l1_score": -3.9}, {"l2_score": -3.9}),
    "hedge_score <= l2_score": ({"hedge_score": -4}, {"hedge_score": -3.9}),
    "hedge_now_score <= hedge_score": ({"hedge_now_score": -6}, {"hedge_now_score": -5.9}),
    "l1_score < l1_exit_score": ({"l1_exit_score": -1.9}, {"l1_exit_score": -2}),
    "l2_score < l2_exit_score": ({"l2_exit_score": -3.9}, {"l2_exit_score": -4}),
    "hedge_score < hedged_exit_score": ({"hedged_exit_score": -5.9}, {"hedged_exit_score": -6}),
    "l2_score < recovered_score": ({"recovered_score": -3.9}, {"recovered_score": -4}),
    "min_coverage_escalate <= min_coverage_relax": ({"min_coverage_relax": 0.6}, {"min_coverage_relax": 0.59}),
    "rsi_dead <= rsi_dead_low": ({"rsi_dead": 10}, {"rsi_dead": 10.1}),
    "rsi_dead_low < rsi_full": ({"rsi_full": 10.1}, {"rsi_full": 10}),
    "volume_share <= volume_share_low": ({"volume_share_low": 0.65}, {"volume_share_low": 0.64}),
    "volatility_low < volatility_high": ({"volatility_low": 0.99, "volatility_high": 1}, {"volatility_low": 1}),
    "tighten_hard_r <= tighten_r": ({"tighten_hard_r": 0.3}, {"tighten_hard_r": 0.31}),
    "r_valid_atr <= r_estimate_atr": ({"r_estimate_atr": 0.5}, {"r_valid_atr": 0.6}),
    "settle_market_s <= settle_request_s": ({"settle_market_s": 180}, {"settle_market_s": 181}),
}


def test_every_order_between_numbers_has_a_case() -> None:
    assert sorted(AT_THE_EDGE) == sorted(order.words for order in ORDERS)


@pytest.mark.parametrize("words", AT_THE_EDGE)
def test_numbers_that_contradict_each_other_stop_the_start_and_both_are_named(tmp_path: Path, words: str) -> None:
    right, change = AT_THE_EDGE[words]
    allowed = chosen(tmp_path, toml(right))
    assert all(getattr(allowed, name) == value for name, value in right.items())
    with pytest.raises(Misconfigured) as caught:
        chosen(tmp_path, toml({**right, **change}))
    for name in words.replace("<=", "<").split(" < "):
        assert f"engine.{name} (" in str(caught.value)
    assert f"{words} must hold" in str(caught.value)


def test_a_command_ends_with_78_and_the_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dtms.toml"
    file.write_text("[engine]\nnoise_floor_atr = 0.1\n")
    monkeypatch.setenv("DTMS_STATE_DIR", str(tmp_path / "state"))
    # Not `serve`, which reads its settings in the same way: without the limits it would start, and never end.
    monkeypatch.setattr(sys, "argv", ["dtms", "config", "check", "--config", str(file)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 78
    assert "engine.noise_floor_atr" in capsys.readouterr().err

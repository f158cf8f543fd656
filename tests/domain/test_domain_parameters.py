from __future__ import annotations

import ast
import dataclasses
import inspect

import pytest

from dtms_service.domain import parameters
from dtms_service.domain.parameters import Parameters

P = Parameters()


@pytest.mark.parametrize(
    ("names", "values"),
    [
        # engine.md B8 and B5, RULINGS R1, R2, R6, R16.
        (
            "weight_structure weight_vwap_volume weight_momentum weight_ema weight_delta weight_candle",
            (3, 2, 2, 1.5, 1, 1),
        ),
        ("l1_score l2_score hedge_score hedge_now_score", (-2, -4, -6, -8)),
        ("l1_exit_score l2_exit_score hedged_exit_score recovered_score", (0, -2, 0, 1)),
        ("min_coverage_escalate min_coverage_relax min_dwell_s", (0.6, 0.8, 900)),
        ("partial_fraction max_partials max_hedges tighten_r tighten_hard_r", (0.5, 1, 1, 0.3, 0.15)),
        ("arm_profit_r arm_age_s arm_loss_r event_cooldown_s adverse_move_atr", (0.2, 900, -0.5, 600, 0.5)),
        ("r_valid_atr r_valid_spreads r_estimate_atr noise_floor_atr", (0.5, 4, 1.5, 0.5)),
        ("swing_k break_beta_atr structure_decay vwap_theta_atr flip_decay", (3, 0.1, 8, 0.5, 18)),
        ("rsi_full ema_dead_50 ema_dead_200 spread_wide spread_defer_s", (25, 0.5, 0.15, 2, 300)),
        ("settle_market_s settle_request_s verify_absence_s verify_absence_reads", (60, 180, 600, 5)),
        ("retry_backoff_s bar_delay_s", ((5, 15, 45, 135), 5)),
    ],
)
def test_defaults_are_those_of_the_specification(names, values):
    assert tuple(getattr(P, name) for name in names.split()) == values


def test_every_number_says_its_unit_and_why():
    body = ast.parse(inspect.getsource(parameters)).body[-1]
    assert isinstance(body, ast.ClassDef)
    undocumented = [
        field.target.id
        for field, following in zip(body.body, [*body.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
    assert undocumented == []


def test_parameters_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        P.l1_score = -9.0  # type: ignore[misc]

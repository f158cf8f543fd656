"""Examples in the OpenAPI document; a test holds them against the wire models."""

from __future__ import annotations

from typing import Any

REGISTRATION: dict[str, Any] = {
    "symbol": "EURUSD",
    "side": "BUY",
    "entry_price": 1.1002,
    "volume": 0.5,
    "stop_loss": 1.0952,
    "take_profit": 1.1102,
    "strategy_type": "breakout_bos",
    "source": "auto_execution",
}
TRADE: dict[str, Any] = {
    "ticket": 123456,
    "identifier": 123456,
    "symbol": "EURUSD",
    "side": "BUY",
    "volume": 0.5,
    "initial_volume": 0.5,
    "closed_volume": 0.0,
    "entry_price": 1.1002,
    "stop_loss": 1.0952,
    "take_profit": 1.1102,
    "initial_stop_loss": 1.0952,
    "risk": 0.005,
    "r_now": 0.36,
    "price_current": 1.102,
    "profit": 90.0,
    "state": "HEALTHY",
    "state_since": "2026-01-05T08:00:00.000Z",
    "previous_state": None,
    "score": 1.5,
    "score_at": "2026-01-05T08:15:00.000Z",
    "coverage": 0.9,
    "owner": "dtms",
    "protected": True,
    "armed": True,
    "flags": [],
    "frozen": None,
    "hedge": None,
    "deadlines": {"flat": None, "recovery": None},
    "obligations": [],
    "next_check_at": "2026-01-05T08:15:30.000Z",
    "registered_at": "2026-01-05T08:00:00.000Z",
    "source": "auto_execution",
    "strategy_type": "breakout_bos",
    "closed_at": None,
    "closed_reason": None,
}
STANDING: dict[str, Any] = {
    "control": "paused",
    "reason": "the broker changes its servers tonight",
    "by": "anna",
    "since": "2026-01-05T21:00:00.000Z",
    "news": [
        {
            "begins": "2026-01-09T13:25:00.000Z",
            "ends": "2026-01-09T13:45:00.000Z",
            "title": "US payrolls",
            "symbols": ["EURUSD", "XAUUSD"],
        }
    ],
}
PROTECTED: dict[str, Any] = {
    "outcome": "protected",
    "protected": True,
    "replayed": False,
    "trade": TRADE,
    "kind": "simulated",
}
BATCH: dict[str, Any] = {
    "results": [{"ticket": 123456, "status": 201, "outcome": "protected", "protected": True, "error": None}],
    "accepted": 1,
    "rejected": 0,
}
EXPLANATION: dict[str, Any] = {
    "ticket": 123456,
    "state": "WARNING_L1",
    "state_since": "2026-01-05T08:15:00.000Z",
    "score": -2.4,
    "coverage": 0.9,
    "components": [
        {
            "name": "structure",
            "weight": 3.0,
            "multiplier": 1.0,
            "value": -1.0,
            "points": -3.0,
            "available": True,
            "reason": None,
        }
    ],
    "thresholds": {"l1_score": -2.0, "l2_score": -4.0},
    "regime": {"volatility": "NORMAL", "structure": "TREND", "session": "LONDON"},
    "rule": "score_warns",
    "fired": "score_warns at 2026-01-05T08:15:00Z from HEALTHY: S <= l1_score (-2)",
    "missing": ["delta: no order-flow provider; not configured, so its weight is shared by the others"],
    "next": [
        "scored at 2026-01-05T08:30:05Z at the latest, when its M15 bar has closed",
        "HEALTHY (score_calms) needs S >= 0 (l1_exit_score; now -2.40, 2.40 away)",
    ],
}
HISTORY: dict[str, Any] = {
    "ticket": 123456,
    "events": [
        {
            "sequence": 1,
            "time": "2026-01-05T08:00:00.000Z",
            "kind": "registered",
            "ticket": 123456,
            "body": {"owner": "dtms"},
        }
    ],
    "count": 1,
}
ACTION: dict[str, Any] = {
    "sequence": 17,
    "timestamp": "2026-01-05T08:15:00.000Z",
    "ticket": 123456,
    "symbol": "EURUSD",
    "action_type": "tighten_stop",
    "outcome": "done",
    "success": True,
    "reason": "score_warns",
    "retcode": 10009,
    "retcode_text": "done",
    "requested": {"stop_loss": 1.0972},
    "result": {"stop_loss": 1.0972},
    "latency_ms": 12.0,
    "description": "stop loss moved from 1.0952 to 1.0972",
    "status": "done",
    "details": {"magic": 770000000000017, "before": {"stop_loss": 1.0952}},
}
ACTIONS: dict[str, Any] = {
    "success": True,
    "summary": "1 action",
    "action_history": [ACTION],
    "total_actions": 1,
    "error": None,
}
STATUS: dict[str, Any] = {
    "success": True,
    "summary": "ready: 3 trades watched, 2 protected",
    "dtms_status": {
        "system_active": True,
        "monitoring_active": True,
        "uptime": "1:02:03",
        "uptime_s": 3723.0,
        "active_trades": 3,
        "trades_by_state": {"HEALTHY": 2, "WARNING_L1": 1},
        "performance": {
            "fast_checks_total": 124,
            "deep_checks_total": 12,
            "actions_executed": 1,
            "state_transitions": 1,
            "fast_checks_per_hour": 119.9,
            "deep_checks_per_hour": 11.6,
        },
        "last_check": "08:15:30",
        "last_check_at": "2026-01-05T08:15:30.000Z",
    },
    "error": None,
    "phase": "ready",
    "mode": "protect",
    "control": "running",
    "account": {
        "login": 5001234,
        "server": "Simulated",
        "currency": "USD",
        "margin_mode": "hedging",
        "kind": "simulated",
    },
    "instance_id": "7f3a",
    "version": "0.1.0",
    "counts": {"trades": 3, "protected": 2, "unmanaged": 0, "alerts": 1},
    "alerts": {"open": 1, "channels": {"log": {"owed": 0, "trouble": None}}},
    "as_of": "2026-01-05T08:15:30.000Z",
}
ALERT: dict[str, Any] = {
    "id": 12,
    "code": "unprotected_if_down",
    "severity": "critical",
    "ticket": 123456,
    "about": "trade 7",
    "detail": "the position has no stop loss at the broker",
    "first_at": "2026-01-05T08:00:00.000Z",
    "last_at": "2026-01-05T08:00:00.000Z",
    "count": 1,
    "over_at": None,
    "open": True,
    "acknowledged_at": None,
    "acknowledged_by": None,
    "acknowledgement": None,
    "notice": {"id": "417-12-1", "number": 1, "at": "2026-01-05T08:00:00.000Z"},
    "delivered": {"log": {"notice": 1, "at": "2026-01-05T08:00:01.000Z"}},
    "happened": "A registered position has no stop loss at the broker.",
    "means": "While DTMS or this machine is down, nothing limits its loss.",
    "do": "Set a stop at the terminal.",
}
ALERTS: dict[str, Any] = {"alerts": [ALERT], "count": 1, "open": 1, "next_cursor": None}
UNMANAGED: dict[str, Any] = {
    "positions": [
        {
            "ticket": 123457,
            "identifier": 123457,
            "symbol": "EURUSD",
            "side": "BUY",
            "volume": 0.5,
            "entry_price": 1.1002,
            "stop_loss": None,
            "take_profit": None,
            "profit": 90.0,
            "magic": 0,
            "comment": "",
            "opened_at": "2026-01-05T08:00:00.000Z",
            "seen_at": "2026-01-05T08:00:30.000Z",
            "own": False,
        }
    ],
    "count": 1,
    "policy": "alert",
    "as_of": "2026-01-05T08:15:30.000Z",
}
ENGINE: dict[str, Any] = {
    "success": True,
    "summary": "3 trades watched",
    "engine_info": {
        "monitoring_active": True,
        "active_trades_count": 3,
        "last_fast_check": {"123456": 1767600930.0},
        "last_deep_check": {"123456": 1767600900.0},
    },
    "error": None,
}
ENABLE: dict[str, Any] = {
    "ticket": 123456,
    "symbol": "EURUSD",
    "direction": "BUY",
    "entry": 1.1002,
    "volume": 0.5,
    "stop_loss": 1.0952,
    "take_profit": None,
    "action": "enable",
}
ENABLED: dict[str, Any] = {
    "success": True,
    "summary": "EURUSD BUY 123456 is protected",
    "trade_info": {
        "ticket": 123456,
        "symbol": "EURUSD",
        "direction": "BUY",
        "entry_price": 1.1002,
        "volume": 0.5,
        "stop_loss": 1.0952,
        "take_profit": None,
        "state": "HEALTHY",
    },
    "already_registered": False,
    "error": None,
    "outcome": "protected",
    "protected": True,
    "kind": "simulated",
}
TRADE_INFO: dict[str, Any] = {
    "success": True,
    "summary": "EURUSD BUY 123456 is HEALTHY",
    "ticket": 123456,
    "state": "HEALTHY",
    "trade_info": {
        "ticket": 123456,
        "symbol": "EURUSD",
        "state": "HEALTHY",
        "current_score": 1.5,
        "state_entry_time": "08:00:00",
        "state_entry_at": "2026-01-05T08:00:00.000Z",
        "warnings": {},
        "actions_taken": [],
        "performance": {"score_history": 1, "warning_count": 0},
        "type": "BUY",
        "volume": 0.5,
        "open_price": 1.1002,
        "current_price": 1.102,
        "profit": 90.0,
        "sl": 1.0952,
        "tp": 0.0,
        "protection_active": True,
        "intelligent_exits": {},
    },
    "error": None,
}

EVENTS = """retry: 2000

id: 17
event: phase
data: {"phase":"ready","ready":true,"accepting":true,"mode":"protect","control":"running","reasons":[],"event":null}

id: 18
event: trade
data: {"sequence":18,"time":"2026-01-05T08:15:00.000Z","kind":"transition","ticket":123456,\
"body":{"from":"HEALTHY","to":"WARNING_L1","rule":"score_warns"}}

"""

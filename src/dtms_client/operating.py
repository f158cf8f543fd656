"""What an operator asks and orders, as values: the twin of `calls` for people. No I/O; `sync.DtmsClient.call` sends."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from dtms_client.calls import Call, Reply

CONTROL = "/dtms/control"
ALERTS = "/dtms/alerts"


def order(verb: str, *, reason: str, by: str, force: bool = False) -> Call[dict[str, Any]]:
    """Order ``pause``, ``resume``, ``halt``, ``reset`` or ``flatten``; ``force`` flattens also what others share (R15).

    Answers the orders now in force. A flatten is sent once: repeated, it would close what was opened in between.
    """
    body = to_json({"reason": reason, "by": by, "force": force})
    return Call("POST", f"{CONTROL}/{verb}", _having("control"), body, repeatable=verb != "flatten")


def alerts(*, unacknowledged: bool, limit: int) -> Call[dict[str, Any]]:
    """List alerts, newest first; ``unacknowledged`` leaves out those that somebody has taken on."""
    query = (("limit", str(limit)), *((("open", "true"),) if unacknowledged else ()))
    return Call("GET", ALERTS, _having("alerts"), query=query)


def acknowledge(alert_id: int, *, reason: str, by: str) -> Call[dict[str, Any]]:
    """Take an alert on: it is not told to anybody any more."""
    return Call("POST", f"{ALERTS}/{alert_id}/ack", _having("acknowledged_by"), to_json({"reason": reason, "by": by}))


def _having(key: str) -> Any:
    def parse(reply: Reply) -> dict[str, Any]:
        found = from_json(reply.body)
        if not isinstance(found, dict) or key not in found:
            raise ValueError(f"no {key!r} in the answer")
        return found

    return parse

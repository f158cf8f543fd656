"""``dtms-client``: what a start script or an operator can do with the base install alone.

Exit codes: 0 done or ready, 1 failed or not ready in time, 2 wrong usage or something that is not DTMS answers, 78 a
setting is wrong.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Sequence
from typing import Any

from dtms_client import places
from dtms_client.clock import CLOCK
from dtms_client.errors import BadSetting, DtmsClientError, NotDtms
from dtms_client.present import complain, facts, show, status_text, table, wants_json
from dtms_client.spool import ANNOUNCED, NEW, REJECTED, Damaged, Entry, entries
from dtms_client.sync import DtmsClient

FAILED, USAGE, CONFIG = 1, 2, 78
_FIELDS = ("symbol", "side", "entry_price", "volume", "stop_loss", "take_profit", "strategy_type", "managed_by")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a character shows its number
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    as_json = wants_json(sys.stdout, forced=args.json)
    try:
        code: int = args.run(args, as_json)
    except NotDtms as error:
        complain(error)
        return USAGE
    except BadSetting as error:
        complain(error)
        return CONFIG
    except DtmsClientError as error:
        complain(error)
        return FAILED
    except KeyboardInterrupt:
        return 130
    return code


def _wait_ready(args: argparse.Namespace, as_json: bool) -> int:  # noqa: FBT001 - every command takes the same pair
    ready = _client(args).wait_ready(args.timeout)
    text = f"DTMS is ready: {ready.mode}, instance {ready.instance_id}, version {ready.version}"
    show(ready.model_dump(), text, as_json=as_json)
    return 0


def _status(args: argparse.Namespace, as_json: bool) -> int:  # noqa: FBT001
    status = _client(args).status()
    show(status, status_text(status), as_json=as_json)
    return 0


def _register(args: argparse.Namespace, as_json: bool) -> int:  # noqa: FBT001
    claims = {name: getattr(args, name) for name in _FIELDS}
    done = _client(args).register(args.ticket, **claims)
    facts_of = {"ticket": done.ticket, "outcome": done.outcome, "protected": done.protected, "detail": done.detail}
    show(facts_of, facts(facts_of), as_json=as_json)
    return 0 if done.safe else FAILED


def _outbox_list(args: argparse.Namespace, as_json: bool) -> int:  # noqa: FBT001
    folder = places.spool_dir()
    rows = [_row(entry, state) for state in (NEW, REJECTED, ANNOUNCED) for entry in entries(folder, state)]
    columns = ("state", "ticket", "symbol", "age_s", "reason", "file")
    show(rows, f"{folder}\n{table(rows, columns, 'nothing waits, nothing was rejected')}", as_json=as_json)
    return 0


def _outbox_flush(args: argparse.Namespace, as_json: bool) -> int:  # noqa: FBT001
    left = _client(args).flush(args.timeout)
    show({"waiting": left}, f"{left} registrations still wait" if left else "the outbox is empty", as_json=as_json)
    if left:
        sys.stderr.write("Try: 'dtms-client status' to see whether DTMS answers\n")
    return FAILED if left else 0


def _outbox_retry(args: argparse.Namespace, as_json: bool) -> int:  # noqa: FBT001
    found = entries(places.spool_dir(), REJECTED)
    for entry in found:
        entry.retry()
    show({"retried": len(found)}, f"{len(found)} rejected registrations wait again", as_json=as_json)
    return _outbox_flush(args, as_json) if found else 0


def _row(entry: Entry, state: str) -> dict[str, Any]:
    row: dict[str, Any] = {"state": state, "file": entry.path.name, "reason": entry.reason().get("detail")}
    try:
        item = entry.load()
    except (Damaged, OSError) as error:
        return {**row, "reason": row["reason"] or str(error)}
    age = CLOCK.wall_ns() / 1e9 - item.created_wall
    if state == ANNOUNCED:
        row["reason"] = f"an order with magic {item.body.get('magic')} may be out"
    return {**row, "ticket": item.body.get("ticket"), "symbol": item.body.get("symbol"), "age_s": round(age, 1)}


def _client(args: argparse.Namespace) -> DtmsClient:
    return DtmsClient(args.url)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dtms-client", description="Ask DTMS, register trades, and look after the outbox."
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="JSON also on a terminal")
    shared.add_argument("--url", help="where DTMS is (default: DTMS_API_URL, or DTMS_API_HOST and DTMS_API_PORT)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    wait = commands.add_parser("wait-ready", parents=[shared], help="wait until DTMS may be trusted")
    wait.add_argument("--timeout", type=_seconds, default=60.0, help="seconds (default 60)")
    wait.set_defaults(run=_wait_ready)

    status = commands.add_parser("status", parents=[shared], help="show what DTMS says about itself")
    status.set_defaults(run=_status)

    register = commands.add_parser("register", parents=[shared], help="put a position under protection")
    register.add_argument("ticket")
    for name in _FIELDS:
        register.add_argument(f"--{name.replace('_', '-')}")
    register.set_defaults(run=_register)

    outbox = commands.add_parser("outbox", help="registrations that wait or were rejected")
    actions = outbox.add_subparsers(required=True, metavar="ACTION")
    for name, run, text in (
        ("list", _outbox_list, "show them"),
        ("flush", _outbox_flush, "deliver what waits"),
        ("retry", _outbox_retry, "let the rejected wait again and deliver"),
    ):
        action = actions.add_parser(name, parents=[shared], help=text)
        action.add_argument("--timeout", type=_seconds, default=10.0, help="seconds for the delivery (default 10)")
        action.set_defaults(run=run)
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError("must be from 0 to 86400 seconds")
    return value


if __name__ == "__main__":
    sys.exit(main())

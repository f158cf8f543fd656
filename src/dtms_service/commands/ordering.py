"""Stop it: pause, resume, halt, reset, flatten. What cannot be taken back asks first when a person types it."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from dtms_client import operating
from dtms_client.errors import RateLimited
from dtms_client.sync import DtmsClient
from dtms_service.commands.looking import connected
from dtms_service.commands.showing import Json, show, table

application = typer.Typer()

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept and shown.")]
By = Annotated[str | None, typer.Option("--by", help="Who orders it; otherwise who is logged in.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def person(by: str | None) -> str:
    """Who orders it, for the record."""
    try:
        return (by or getpass.getuser())[:64]
    except (OSError, KeyError):  # an account without a name, as in some containers
        return "operator"


@application.command()
def pause(*, reason: Reason = "", by: By = None, as_json: Json = False) -> None:
    """Stop acting until resume: stops at the broker stay, nothing new is sent (R47)."""
    _order("pause", reason, by, as_json=as_json)


@application.command()
def resume(*, reason: Reason = "", by: By = None, as_json: Json = False) -> None:
    """End a pause."""
    _order("resume", reason, by, as_json=as_json)


@application.command()
def halt(*, reason: Reason = "", by: By = None, yes: Yes = False, as_json: Json = False) -> None:
    """Stop everything but the closing of our own orphan hedges; only reset ends it."""
    with connected() as client:
        _confirmed("Halt DTMS? No trade is protected until 'dtms reset'.", yes=yes)
        done = _sent(client, "halt", reason, by)
    show(done, lambda console: _standing(done, console), as_json=as_json)


@application.command()
def reset(*, reason: Reason = "", by: By = None, as_json: Json = False) -> None:
    """End a halt."""
    _order("reset", reason, by, as_json=as_json)


@application.command()
def flatten(
    *,
    reason: Reason = "",
    by: By = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also what is shared with others on a netting account.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Close every position that DTMS protects, now; works while paused or halted."""
    with connected() as client:
        if _asks(yes=yes):
            status = _status(client)
            account = status.get("account") or {}
            count = (status.get("counts") or {}).get("protected", "the")
            _confirmed(f"Close {count} protected positions on account {account.get('login', '?')}, now?", yes=yes)
        done = _sent(client, "flatten", reason, by, force=force)
    show(done, lambda console: _standing(done, console), as_json=as_json)


def _order(verb: str, reason: str, by: str | None, *, as_json: bool) -> None:
    with connected() as client:
        done = _sent(client, verb, reason, by)
    show(done, lambda console: _standing(done, console), as_json=as_json)


def _status(client: DtmsClient) -> dict[str, Any]:
    """What the question shows; nothing when other programs use up the requests, because closing must not wait."""
    try:
        return client.status()
    except RateLimited:
        return {}


def _sent(client: DtmsClient, verb: str, reason: str, by: str | None, *, force: bool = False) -> dict[str, Any]:
    return client.call(operating.order(verb, reason=reason, by=person(by), force=force))


def _asks(*, yes: bool) -> bool:
    """A person types it, and has not said yes yet; a script that could not answer is not asked."""
    return not yes and sys.stdin.isatty()


def _confirmed(question: str, *, yes: bool) -> None:
    """Raises ``typer.Abort`` when the answer is no."""
    if _asks(yes=yes):
        typer.confirm(question, abort=True, err=True)


def _standing(done: dict[str, Any], console: Console) -> RenderableType:
    by, reason = done.get("by"), done.get("reason")
    lines = [f"DTMS is {done.get('control')}{f', by {by}' if by else ''}{f': {reason}' if reason else ''}"]
    if tickets := done.get("tickets"):
        lines.append(f"closing {len(tickets)} positions: {', '.join(map(str, tickets))}")
    refused = [(row.get("ticket"), row.get("reason")) for row in done.get("refused") or []]
    shown = [table(("refused", "because"), refused, console.width, "")] if refused else []
    return Group(Text("\n".join(lines)), *shown)

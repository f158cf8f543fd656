"""``dtms doctor``: everything that can be looked at, one line each: ok, warn or fail, and what to try."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from dtms_client import calls
from dtms_client.errors import BadSetting, DtmsClientError, Unreachable
from dtms_client.sync import DtmsClient
from dtms_service.app import examination
from dtms_service.app.examination import FAIL, OK, WARN, Finding
from dtms_service.app.leaving import FAILED, MISCONFIGURED
from dtms_service.app.remedies import OTHERWISE, REMEDIES
from dtms_service.commands.configuring import File
from dtms_service.commands.looking import connected
from dtms_service.commands.showing import Json, show
from dtms_service.lock import NAME, is_held
from dtms_service.settings.loading import Misconfigured, load
from dtms_service.settings.tree import Settings

application = typer.Typer()


@application.command()
def doctor(*, file: File = None, as_json: Json = False) -> None:
    """Examine machine, settings and running service; changes nothing, ends with 1 where something fails."""
    found = [examination.environment()]
    code = 0
    try:
        said = load(file=file)
    except Misconfigured as error:
        detail, _, remedy = str(error).partition(" Try: ")
        found.append(Finding("settings", FAIL, detail, remedy or "docs/reference/settings.md"))
        code = MISCONFIGURED
    else:
        found += _settings(said.warnings)
        found += examination.examined(said.settings)
        found += _service(said.settings)
        found += _terminal(said.settings)
        code = FAILED if any(one.verdict is FAIL for one in found) else 0
    show([asdict(one) for one in found], lambda console: _lines(found, console), as_json=as_json)
    raise typer.Exit(code)


def _settings(warnings: tuple[str, ...]) -> Iterator[Finding]:
    yield Finding("settings", OK, "they can be used; dtms config show prints them")
    for warning in warnings:
        yield Finding("settings", WARN, warning, "correct its name, or unset it")


def _service(settings: Settings) -> Iterator[Finding]:
    """What the service says of itself, asked as every client here would ask."""
    try:
        with connected() as client:
            yield from _answers(client, settings)
    except BadSetting as error:
        yield Finding("client", FAIL, error.detail, error.hint)
    except Unreachable as error:  # without a service that is no news: the port was looked at
        served = is_held(settings.state_dir / NAME)
        yield Finding("service", FAIL if served else WARN, error.detail, error.hint)
    except DtmsClientError as error:
        yield Finding("service", FAIL, error.detail, error.hint)


def _answers(client: DtmsClient, settings: Settings) -> Iterator[Finding]:
    ready = client.call(calls.ready())
    if ready.status == "ready":
        yield Finding("service", OK, f"ready, mode {ready.mode}, version {ready.version}")
    for reason in ready.reasons:
        yield Finding("service", FAIL, f"{reason.code}: {reason.detail}", REMEDIES.get(reason.code, OTHERWISE))
    status = client.status()
    account = status.get("account") or {}
    if account:
        yield Finding("account", OK, f"{account.get('login')}@{account.get('server')} ({account.get('kind')})")
    yield _control(str(status.get("control", "running")))
    counts = status.get("counts") or {}
    for name, channel in ((status.get("alerts") or {}).get("channels") or {}).items():
        if trouble := channel.get("trouble"):
            detail = f"{name} takes nothing, {channel.get('owed')} wait for it: {trouble}"
            yield Finding("alerts", WARN, detail, "repair the receiver, or the setting alerts.webhook")
    if settings.alerts.webhook.url is None and settings.alerts.deadman.url is None:
        yield Finding("alerts", WARN, "they go to the log only: nobody is woken", "alerts.webhook and alerts.deadman")
    if alerts := counts.get("alerts"):
        yield Finding("alerts", WARN, f"{alerts} that nobody has taken on", "dtms alerts")
    if unmanaged := counts.get("unmanaged"):
        yield Finding("unmanaged", WARN, f"{unmanaged} open positions that nobody registered", "dtms adopt")
    if settings.mode.value != ready.mode:
        detail = f"it runs in mode {ready.mode}, these settings say {settings.mode.value}"
        yield Finding(
            "mode", WARN, detail, "restart it where these settings hold, or run doctor where its settings hold"
        )


def _control(control: str) -> Finding:
    """Whether somebody has ordered DTMS to stop acting."""
    if control == "running":
        return Finding("control", OK, "running")
    return Finding(
        "control", WARN, f"{control}: nothing is sent", f"dtms {'reset' if control == 'halted' else 'resume'}"
    )


def _terminal(settings: Settings) -> Iterator[Finding]:
    """The terminal itself, where no service answers for it."""
    if is_held(settings.state_dir / NAME):
        return
    if settings.terminal.kind == "simulated":
        yield Finding("terminal", OK, "simulated: it starts with the service")
    else:
        yield asyncio.run(examination.terminal(settings))


def _lines(found: list[Finding], _: Console) -> RenderableType:
    width = max(len(one.name) for one in found)
    lines = []
    for one in found:
        lines.append(f"{one.verdict.value:4}  {one.name.ljust(width)}  {one.detail}")
        if one.remedy:
            lines.append(f"      {''.ljust(width)}  Try: {one.remedy}")
    return Text("\n".join(lines))

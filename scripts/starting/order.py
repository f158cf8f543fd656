"""Start in order, wait for each, watch, and stop in reverse. Restarting what ends is not its job."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dtms_service.app.port_holder import speaker
from dtms_service.terminal.orphans import Leash
from starting import plan, probes
from starting.child import Child
from starting.plan import Plan, Service, Wrong

DONE, FAILED, USAGE, PORT_TAKEN, MISCONFIGURED = 0, 1, 2, 74, 78
"""Exit codes, as the commands of DTMS have them."""
_ANOTHER_PORT = "stop that program, or set DTMS_API_PORT to another port for the service and for every client"
_LOOK_S = 0.2
"""Between two looks at a service that is starting, and at all of them afterwards."""


class Stopped(Exception):
    """Somebody asked to stop: Ctrl-C, a signal, or the window was closed."""


class Ending:
    """Whether somebody asked to stop. A signal is noted, and looked at between two steps: no child is ever lost."""

    def __init__(self) -> None:
        self.why: str | None = None
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._asked)

    def pause(self) -> None:
        """Wait a moment. Raises `Stopped`."""
        time.sleep(_LOOK_S)
        if self.why is not None:
            raise Stopped(self.why)

    def _asked(self, number: int, _: object) -> None:
        self.why = signal.Signals(number).name


class Failed(Exception):
    """A service did not start. ``code`` is the exit code."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def main(arguments: Sequence[str]) -> int:
    """Run until stopped; returns the exit code."""
    parser = argparse.ArgumentParser(prog="start_all_services", description="Start DTMS, wait for it, then the others.")
    parser.add_argument("--config", type=Path, default=plan.FILE, help="default: config/services.toml")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and start nothing")
    chosen = parser.parse_args(arguments)
    try:
        wanted = plan.read(chosen.config, os.environ)
    except Wrong as error:
        say(str(error))
        return MISCONFIGURED
    if chosen.dry_run:
        return _shown(wanted)
    return run(wanted, os.environ, Ending())


def run(wanted: Plan, environ: Mapping[str, str], ending: Ending) -> int:
    """Start all, watch all, stop all in reverse."""
    children: list[Child] = []
    code = DONE
    try:
        _started(wanted, {**environ, **wanted.shared}, children, ending)
        say(f"all {len(children)} run; Ctrl-C stops them in reverse order")
        code = _watched(children, ending)
    except Failed as error:
        say(str(error))
        code = error.code
    except Stopped as why:
        say(f"stopping: {why}")
    finally:
        for child in reversed(children):
            _stopped(child)
    return code


def _started(wanted: Plan, environ: Mapping[str, str], children: list[Child], ending: Ending) -> None:
    """Start each when the one before it is ready. Raises `Failed`; ``children`` has what was started."""
    running = _running_dtms(wanted.services[0])
    rest = wanted.services[1:] if running else wanted.services
    for service in rest:
        if found := probes.taken(service.probe):
            remedy = "stop that program, or give one of them another port"
            raise Failed(PORT_TAKEN, f"{service.name}: {found}. Try: {remedy}")
    leash = Leash()
    if running:
        say(f"{wanted.services[0].name} runs already ({running}); it is waited for, and it will not be stopped")
        _waited(wanted.services[0], None, ending)
    for service in rest:
        say(f"{service.name}: starting {subprocess.list2cmdline(service.command)}")
        child: Child | None = None
        try:
            child = _begun(service, environ, wanted.logs, leash)
            children.append(child)
            _waited(service, child, ending)
        except Failed as error:
            if not service.optional:
                raise
            say(f"{error}\n{service.name} is optional: going on without it")
            if child is not None:
                children.remove(child)
                _stopped(child)
        else:
            say(f"{service.name}: ready after {child.lived_s:.1f} s (process {child.pid}, log {child.log})")


def _begun(service: Service, environ: Mapping[str, str], logs: Path, leash: Leash) -> Child:
    try:
        return Child(service, environ, logs / f"{service.name}.log", leash)
    except OSError as error:
        remedy = "the command and the logs folder in services.toml"
        raise Failed(FAILED, f"{service.name} cannot be started: {error}. Try: {remedy}") from error


def _waited(service: Service, child: Child | None, ending: Ending) -> None:
    """Wait until it is ready; ``child`` is None for a DTMS that others started. Raises `Failed` and `Stopped`."""
    begun = time.monotonic()
    while True:
        if child is not None and child.code is not None:
            raise Failed(FAILED, f"{service.name} ended with {child.code} while it was starting:\n{_words(child)}")
        lived = time.monotonic() - begun
        try:
            missing = probes.ready(service.probe, lived)
        except probes.Stranger as error:
            raise Failed(USAGE, f"{service.name}: {error}, which is not DTMS. Try: {_ANOTHER_PORT}") from error
        if missing is None:
            return
        if lived >= service.ready_s:
            said = f"{service.name} is not ready after {service.ready_s:g} s: {missing}"
            words = f":\n{_words(child)}" if child is not None else ". Try: dtms doctor"
            raise Failed(FAILED, f"{said}{words}")
        ending.pause()


def _words(child: Child) -> str:
    return f"{child.last_words()}\n    Try: its log, {child.log}, or a larger ready_s in services.toml"


def _running_dtms(service: Service) -> str | None:
    """The instance of a DTMS that runs already. Raises `Failed` when another program has its port."""
    found = speaker(service.probe.host, service.probe.port or 0)
    if found.kind in {"web", "other"}:
        sentence = f"{service.name}: port {service.probe.port} is taken by {found}, which is not DTMS"
        raise Failed(PORT_TAKEN, f"{sentence}. Try: {_ANOTHER_PORT}")
    return f"instance {found.name}" if found.kind == "dtms" else None


def _watched(children: Sequence[Child], ending: Ending) -> int:
    """Say who ends; returns when all have ended. Raises `Stopped`."""
    alive = list(children)
    while alive:
        ending.pause()
        for child in [child for child in alive if child.code is not None]:
            alive.remove(child)
            left = ", ".join(other.service.name for other in alive) or "nothing"
            say(f"{child.service.name} ended with {child.code}; still running: {left}. Try: its log, {child.log}")
    return FAILED if children else DONE


def _stopped(child: Child) -> None:
    """End one, and say so if it still ran."""
    running = child.code is None
    code = child.stop()
    if running:
        say(f"{child.service.name}: stopped ({code})")


def _shown(wanted: Plan) -> int:
    """What would be done, on standard output; 74 when a port is taken by somebody else."""
    code = DONE
    for number, service in enumerate(wanted.services, 1):
        print(f"{number}. {service.name}{' (optional)' if service.optional else ''}")
        print(f"   command  {subprocess.list2cmdline(service.command)}")
        print(f"   folder   {service.folder}")
        print(f"   ready    when {service.probe}, within {service.ready_s:g} s")
        try:
            running = _running_dtms(service) if service.probe.kind == "dtms" else None
            found = None if service.probe.kind == "dtms" else probes.taken(service.probe)
        except Failed as error:
            running, found = None, str(error)
        if running:
            print(f"   already  {running}: left as it is")
        if found:
            print(f"   PROBLEM  {found}")
            code = PORT_TAKEN
    print(f"stopped in reverse: {', '.join(service.name for service in reversed(wanted.services))}")
    return code


def say(sentence: str) -> None:
    """Tell the person at the terminal."""
    print(f"[start] {sentence}", file=sys.stderr, flush=True)

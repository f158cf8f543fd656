"""Is a service ready? One look each; what it heard is a sentence, so that a person learns why it is not."""

from __future__ import annotations

import http.client
import json
import socket
from urllib.parse import urlsplit

from dtms_service.app.port_holder import speaker
from starting.plan import Probe

LOOK_S = 2.0
"""How long one look may take."""


class Stranger(Exception):
    """Another program answers where ours should: it is named, never trusted."""


def ready(probe: Probe, lived_s: float) -> str | None:
    """None when it is ready, else what is missing. ``lived_s``: seconds since its start. Raises `Stranger`."""
    if probe.kind == "alive":
        return None if lived_s >= probe.alive_s else f"it lives for {lived_s:.1f} s"
    if probe.kind == "tcp":
        return _connects(probe)
    return _dtms(probe) if probe.kind == "dtms" else _http(probe)


def taken(probe: Probe) -> str | None:
    """Who has the port of a service that is not started yet; None when it is free, or the service has none."""
    if probe.port is None:
        return None
    found = speaker(probe.host, probe.port)
    return None if found.kind == "nobody" else f"port {probe.port} is taken by {found}"


def _connects(probe: Probe) -> str | None:
    try:
        socket.create_connection((probe.host, probe.port or 0), LOOK_S).close()
    except OSError as error:
        return f"port {probe.port} takes no connection ({error.strerror or error})"
    return None


def _http(probe: Probe) -> str | None:
    url = urlsplit(probe.url)
    answer = _asked(probe, url.path or "/", url.query, secure=url.scheme == "https")
    if isinstance(answer, str):
        return answer
    status, body = answer
    if status != 200:
        return f"{probe.url} answers {status}"
    return None if probe.says in body else f"{probe.url} answers without {probe.says!r}"


def _dtms(probe: Probe) -> str | None:
    """The same question as ``dtms-client wait-ready``: the answer must say that it is DTMS, and that it is ready."""
    answer = _asked(probe, "/health/ready", "", secure=False)
    if isinstance(answer, str):
        return answer
    try:
        said = json.loads(answer[1])
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("service") != "dtms":
        raise Stranger(f"port {probe.port} is taken by {speaker(probe.host, probe.port or 0)}")
    if answer[0] == 200 and said.get("status") == "ready":
        return None
    reasons = said.get("reasons") or []
    named = "; ".join(str(reason.get("detail")) for reason in reasons if isinstance(reason, dict))
    return f"DTMS is {said.get('phase')}" + (f": {named}" if named else "")


def _asked(probe: Probe, path: str, query: str, *, secure: bool) -> tuple[int, str] | str:
    """Status and body, or why there is none. No proxy is asked: these programs are neighbours."""
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(probe.host, probe.port, timeout=LOOK_S)
    try:
        connection.request("GET", f"{path}?{query}" if query else path)
        answer = connection.getresponse()
        return answer.status, answer.read(65536).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return (
            f"port {probe.port} does not answer ({getattr(error, 'strerror', None) or error or type(error).__name__})"
        )
    finally:
        connection.close()

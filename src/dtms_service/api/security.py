"""Who may ask what: scopes of routes, bearer tokens, host and origin rules (R43, DESIGN decision 14). No I/O.

Every route declares its scope where it is made (``x-scope`` in its OpenAPI entry, see ``describe``); a path that no
route declares needs a token as well, so that a forgotten declaration closes a door and never opens one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from re import Pattern
from urllib.parse import urlsplit

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SCOPE_KEY = "x-scope"


class Scope(StrEnum):
    """What a token allows. ``open`` needs no token."""

    OPEN = "open"
    READ = "read"
    REGISTER = "register"
    CONTROL = "control"


ALL_SCOPES = frozenset({Scope.READ, Scope.REGISTER, Scope.CONTROL})


@dataclass(frozen=True, slots=True)
class Token:
    """One accepted bearer token: the sha256 of its text in lower-case hex, and what it allows."""

    sha256: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The accepted tokens. With none, everything is open: the service then listens on loopback only."""

    accepted: tuple[Token, ...] = ()

    def scopes(self, authorization: str) -> tuple[str | None, frozenset[Scope]]:
        """(name of the matching token, its scopes) for an ``Authorization`` header; comparisons take constant time."""
        if not self.accepted:
            return None, ALL_SCOPES
        kind, _, secret = authorization.partition(" ")
        secret = secret.strip()
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        name, scopes = None, frozenset[Scope]()
        for token in self.accepted:
            if hmac.compare_digest(digest, token.sha256.lower()) and kind.lower() == "bearer" and secret:
                name, scopes = token.sha256, token.scopes
        return name, scopes


@dataclass(frozen=True, slots=True)
class RouteScopes:
    """The scope of each route, found by method and path."""

    exact: dict[tuple[str, str], Scope] = field(default_factory=dict)
    patterns: tuple[tuple[str, Pattern[str], Scope], ...] = ()
    spelt_out: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The methods of each path without parameters."""

    def of(self, method: str, path: str) -> Scope:
        """The scope that ``method path`` needs; ``read`` for what no route declares."""
        found = self.exact.get((method, path))
        if found is not None:
            return found
        for verb, pattern, scope in self.patterns:
            if verb == method and pattern.match(path):
                return scope
        return Scope.READ

    def methods(self, path: str) -> frozenset[str]:
        """The methods of ``path``; none when no route has it. A spelt-out path is no value of another's parameter."""
        return self.spelt_out.get(path) or frozenset(verb for verb, pattern, _ in self.patterns if pattern.match(path))


def declared(route: BaseRoute) -> Scope:
    """The scope a route declares; raises ValueError when it declares none."""
    extra = (route.openapi_extra or {}) if isinstance(route, APIRoute) else {}
    if SCOPE_KEY not in extra:
        message = f"route {getattr(route, 'path', route)} declares no scope"
        raise ValueError(message)
    return Scope(extra[SCOPE_KEY])


def scopes_of(routes: Iterable[BaseRoute]) -> RouteScopes:
    """Collect the declared scopes; raises ValueError for a route without one."""
    exact: dict[tuple[str, str], Scope] = {}
    patterns: list[tuple[str, Pattern[str], Scope]] = []
    for route in routes:
        scope = declared(route)
        if not isinstance(route, APIRoute):
            continue
        for method in route.methods or ():
            if route.param_convertors:
                patterns.append((method, route.path_regex, scope))
            else:
                exact[(method, route.path)] = scope
    paths = {path for _, path in exact}
    spelt_out = {path: frozenset(verb for verb, known in exact if known == path) for path in paths}
    return RouteScopes(exact, tuple(patterns), spelt_out)


@lru_cache(maxsize=256)
def host_name(value: str) -> str | None:
    """The host of a ``Host`` header or an authority, lower case, without port; None when it is not one."""
    try:
        parts = urlsplit(f"//{value}")
        port = parts.port
    except ValueError:
        return None
    strange = parts.path or parts.query or parts.fragment or "@" in value or (port is not None and port > 65535)
    if not value.isascii() or not value.isprintable() or " " in value or strange or not parts.hostname:
        return None
    return parts.hostname.rstrip(".")


def host_allowed(values: Sequence[str], allowed: frozenset[str]) -> bool:
    """Exactly one ``Host`` header, naming a host we answer for (defence against DNS rebinding)."""
    if len(values) != 1:
        return False
    name = host_name(values[0])
    return name is not None and (name in LOOPBACK or name in allowed)


def origin_allowed(origin: str | None, fetch_site: str | None, host: str, allowed: frozenset[str]) -> bool:
    """No ``Origin`` (not a browser), our own, or a configured one. Otherwise a cross-site fetch is refused."""
    if origin in allowed:
        return True
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return False
    return (fetch_site or "none") != "cross-site"

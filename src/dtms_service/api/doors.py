"""What every request passes before it reaches a route, as plain ASGI (a ``BaseHTTPMiddleware`` costs 3 to 4 requests).

Outermost the `Door`: request id, host, origin. Then, where origins are configured, the framework's CORS layer, which
answers preflights. Then the `Gate`: token, scope, rate. Bodies are bounded where they are read (``exchange``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from dtms_service.api.errors import (
    CALLER,
    REQUEST_ID,
    Forbidden,
    HostNotAllowed,
    MethodNotAllowed,
    OriginNotAllowed,
    RateLimited,
    Unauthorized,
    respond,
)
from dtms_service.api.limits import EXEMPT, RateLimit
from dtms_service.api.security import RouteScopes, Scope, Tokens, host_allowed, origin_allowed
from dtms_service.domain.errors import DtmsError

SCOPES = "dtms.scopes"
"""Key in the ASGI scope under which the caller's scopes travel."""

_ID_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may reach the service, and how a request is named. ``new_id`` makes an id where the caller sent none."""

    new_id: Callable[[], str]
    hosts: frozenset[str] = frozenset()
    """Host names beside the loopback ones, without port."""
    origins: frozenset[str] = frozenset()
    """Origins of web pages that may read answers (``http://localhost:8000``)."""
    tokens: Tokens = field(default_factory=Tokens)
    rate: RateLimit | None = None


def _usable(text: str | None) -> bool:
    return text is not None and 0 < len(text) <= _ID_MAX and text.isascii() and text.isprintable()


class Door:
    """Names the request and turns away hosts and origins that have no business here."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent_id, key = headers.get("x-request-id"), headers.get("idempotency-key")
        request_id = sent_id if sent_id is not None and _usable(sent_id) else self._access.new_id()
        scope[REQUEST_ID] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                raw = MutableHeaders(raw=message["headers"] if isinstance(message["headers"], list) else [])
                message["headers"] = raw.raw
                raw["X-Request-ID"] = request_id
                if key is not None and _usable(key):
                    raw["Idempotency-Key"] = key
            await send(message)

        refused = self._refused(headers)
        if refused is not None:
            await respond(refused, scope)(scope, receive, named)
            return
        await self._app(scope, receive, named)

    def _refused(self, headers: Headers) -> DtmsError | None:
        hosts = headers.getlist("host")
        if not host_allowed(hosts, self._access.hosts):
            return HostNotAllowed()
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if (origin is not None or site) and not origin_allowed(origin, site, hosts[0], self._access.origins):
            return OriginNotAllowed()
        return None


class Gate:
    """Asks for a token where one is needed, keeps each caller to its rate, and knows the methods of every path.

    The framework names only those of the first router that has the path, and takes ``batch`` for a ticket.
    """

    def __init__(self, app: ASGIApp, access: Access, routes: RouteScopes) -> None:
        self._app = app
        self._access = access
        self._routes = routes

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name, scopes = self._access.tokens.scopes(Headers(scope=scope).get("authorization", ""))
        client = scope.get("client")
        scope[SCOPES] = scopes
        scope[CALLER] = name or (client[0] if client else "")
        refused = self._too_fast(scope) or self._refused(scope, scopes)
        methods = self._routes.methods(scope["path"])
        if refused is None and methods and scope["method"] not in methods:
            refused = MethodNotAllowed(allow=sorted(methods))
        if refused is not None:
            await respond(refused, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _too_fast(self, scope: AsgiScope) -> DtmsError | None:
        if self._access.rate is None or scope["path"].startswith(EXEMPT):
            return None
        wait = self._access.rate.wait(scope[CALLER], scope["path"])
        return RateLimited(retry_after_s=wait) if wait else None

    def _refused(self, scope: AsgiScope, scopes: frozenset[Scope]) -> DtmsError | None:
        if not self._access.tokens.accepted:
            return None
        needed = self._routes.of(scope["method"], scope["path"])
        if needed is Scope.OPEN or needed in scopes:
            return None
        if not scopes:
            return Unauthorized()
        return Forbidden(f"this request needs the scope {needed.value}", needed=needed.value)

"""The only door to httpx: sends a `Call` once and returns its `Reply`, or raises `Unreachable`.

Every request has an id that DTMS repeats: an answer with another one belongs to an earlier question (bytes that came
twice on a kept connection) and is taken for none, because it would settle a registration that never arrived.
Synchronous connections are pooled per process and address, asynchronous ones per running loop, so neither a fork nor a
new event loop inherits a socket. For http:// addresses no certificates are loaded (they cost 21 ms); for https:// they
always are.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import threading
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import httpcore
import httpx

from dtms_client.calls import Call, Reply
from dtms_client.clock import CLOCK
from dtms_client.errors import BadSetting, Unreachable
from dtms_client.places import is_loopback
from dtms_client.retry import CONNECT_S

LIMITS = httpx.Limits(max_connections=10, max_keepalive_connections=5, keepalive_expiry=30.0)
"""The server keeps idle connections for 75 s: whoever closes second never loses a request to the race (T4)."""
_ID = "x-request-id"
_NUMBERS = itertools.count()
BODY_MAX = 16 * 1024 * 1024
"""Longest answer we read; the largest real one, 1,000 trades, stays under 1 MiB."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, and as whom. ``transport`` replaces the network (tests)."""

    url: str
    token: str | None = field(default=None, repr=False)
    transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None

    @property
    def attended(self) -> bool:
        """Does the background thread send here? Not through a transport that only an event loop can drive.

        Nor through one that says ``in_background = False``, as `testing.FakeDtms` does.
        """
        if self.transport is None:
            return True
        return isinstance(self.transport, httpx.BaseTransport) and getattr(self.transport, "in_background", True)


def send(target: Target, call: Call[Any], seconds: float) -> Reply:
    """Send once; at most ``seconds`` in total, however slowly the answer drips in."""
    client = _pooled(target.url) if target.transport is None else _own(target)
    request = _request(target, call, seconds)
    _LIMIT.until = time.monotonic() + seconds
    try:
        with client.stream(**request) as response:
            _check_own(response, request)
            return _reply(response, _read(response.iter_bytes(), time.monotonic() + seconds))
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise _unreachable(target, error) from error
    finally:
        _LIMIT.until = None


async def asend(target: Target, pools: LoopPools, call: Call[Any], seconds: float) -> Reply:
    """Send once on the running loop; at most ``seconds`` in total."""
    try:
        client = await pools.client(target)
        request = _request(target, call, seconds)
        async with asyncio.timeout(seconds), client.stream(**request) as response:
            _check_own(response, request)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                _grow(body, chunk)
            return _reply(response, bytes(body))
    except TimeoutError as error:
        raise Unreachable(f"{target.url} did not answer within {seconds:.1f} s") from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise _unreachable(target, error) from error


class LoopPools:
    """Connections of one asynchronous client, one pool per running loop; a loop that ends takes its pool along."""

    def __init__(self) -> None:
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[httpx.AsyncClient, None]] = (
            WeakKeyDictionary()
        )
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def client(self, target: Target) -> httpx.AsyncClient:
        """Return the running loop's pool, made on first use."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for ended in [known for known in self._clients if known.is_closed()]:
                del self._clients[ended], self._pools[ended]
            keeper = _keep(target)
            self._pools[loop] = keeper
            self._clients[loop] = await anext(keeper)
        return self._clients[loop]

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        loop = asyncio.get_running_loop()
        self._clients.pop(loop, None)
        keeper = self._pools.pop(loop, None)
        if keeper is not None:
            await keeper.aclose()


async def _keep(target: Target) -> AsyncGenerator[httpx.AsyncClient, None]:
    # Suspended on purpose: asyncio.run closes it with its loop (shutdown_asyncgens), so that loop leaks no socket.
    transport = target.transport if isinstance(target.transport, httpx.AsyncBaseTransport) else None
    verify = target.url.startswith("https:")
    trust = not is_loopback(target.url)
    async with httpx.AsyncClient(transport=transport, verify=verify, trust_env=trust, limits=LIMITS) as client:
        yield client


_SYNC: dict[tuple[int, str], httpx.Client] = {}
"""(process id, address) -> connections. A forked child finds nothing under its own id and starts anew."""


def _pooled(url: str) -> httpx.Client:
    key = (os.getpid(), url)
    found = _SYNC.get(key)
    if found is None:
        made = _client(url)
        found = _SYNC.setdefault(key, made)
        if found is not made:
            made.close()
    return found


def _client(url: str) -> httpx.Client:
    verify = url.startswith("https:")
    if not is_loopback(url):
        return httpx.Client(verify=verify, limits=LIMITS)
    return httpx.Client(transport=_Bounded(verify=verify), trust_env=False)


def _own(target: Target) -> httpx.Client:
    if not isinstance(target.transport, httpx.BaseTransport):
        raise Unreachable("this transport can only be used by AsyncDtmsClient", connected=False)
    return httpx.Client(transport=target.transport, trust_env=False)


@atexit.register
def close() -> None:
    """Close this process's pooled connections; the next call opens new ones."""
    for key in [key for key in _SYNC if key[0] == os.getpid()]:
        _SYNC.pop(key).close()


def _request(target: Target, call: Call[Any], seconds: float) -> dict[str, Any]:
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "dtms-client",
        _ID: f"{CLOCK.wall_ns():x}-{os.getpid():x}-{next(_NUMBERS):x}",
    }
    if call.body is not None:
        headers["content-type"] = "application/json"
    if target.token:
        headers["authorization"] = f"Bearer {target.token}"
    return {
        "method": call.method,
        "url": target.url + call.path,
        "params": call.query or None,
        "content": call.body,
        "headers": headers,
        "timeout": httpx.Timeout(seconds, connect=min(CONNECT_S, seconds)),
    }


def _check_own(response: httpx.Response, request: dict[str, Any]) -> None:
    """Raise for an answer to another request; one without an id is no DTMS's, and its body will show that."""
    if response.headers.get(_ID, request["headers"][_ID]) != request["headers"][_ID]:
        raise httpx.ReadError("the answer belongs to another request")


def _reply(response: httpx.Response, body: bytes) -> Reply:
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def _read(chunks: Iterable[bytes], until: float) -> bytes:
    body = bytearray()
    for chunk in chunks:
        if time.monotonic() > until:
            raise httpx.ReadTimeout("the answer did not end in time")
        _grow(body, chunk)
    return bytes(body)


def _grow(body: bytearray, chunk: bytes) -> None:
    if len(body) + len(chunk) > BODY_MAX:
        raise httpx.ReadError(f"the answer is longer than {BODY_MAX} bytes")
    body += chunk


def _unreachable(target: Target, error: Exception) -> Exception:
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return BadSetting(f"{target.url!r} is not an address that can be dialled: {error}")
    connected = not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    return Unreachable(f"{target.url} did not answer: {str(error) or type(error).__name__}", connected=connected)


class _Limit(threading.local):
    """When the call that this thread is in must be over (process seconds)."""

    until: float | None = None

    def seconds(self, asked: float | None) -> float | None:
        if self.until is None:
            return asked
        left = max(0.001, self.until - time.monotonic())
        return left if asked is None else min(asked, left)


_LIMIT = _Limit()


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes end by the call's deadline: httpx bounds one read, not a dripping answer."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _LIMIT.seconds(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _LIMIT.seconds(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(*args, **kwargs))


class _Bounded(httpx.HTTPTransport):
    def __init__(self, *, verify: bool) -> None:
        super().__init__(verify=False, trust_env=False)
        # httpx cannot be handed a network backend, so the pool is made here; the drip test fails if `_pool` ever moves.
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False) if verify else None,
            max_connections=LIMITS.max_connections,
            max_keepalive_connections=LIMITS.max_keepalive_connections,
            keepalive_expiry=LIMITS.keepalive_expiry,
            network_backend=_Backend(),
        )

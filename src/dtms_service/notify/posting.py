"""The service's only door to other people's servers: one request, bounded in time, and only its status counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

import httpx

TAKE_S = 10.0
"""Seconds that a receiver may take in all, however slowly it drips."""
_HERE = frozenset({"127.0.0.1", "localhost", "::1"})


class NotTaken(Exception):
    """The receiver did not take it; the sentence says why, without the address, which may hold a secret."""


class Door:
    """Connections to one address; an asynchronous context manager. ``transport`` replaces the network (tests)."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self.host = urlsplit(url).hostname or ""
        self._client = httpx.AsyncClient(
            transport=transport,
            verify=url.startswith("https:"),  # certificates take 21 ms to load
            trust_env=self.host not in _HERE,
            timeout=TAKE_S,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send ``body``; raises `NotTaken` for any answer but 2xx, and for none within `TAKE_S`."""
        await self._ask("POST", body, headers)

    async def get(self) -> None:
        """Ask for the address itself; raises as `post`."""
        await self._ask("GET", b"", {})

    async def _ask(self, method: str, body: bytes, headers: Mapping[str, str]) -> None:
        try:
            async with (
                asyncio.timeout(TAKE_S),
                self._client.stream(method, self._url, content=body, headers=dict(headers)) as answer,
            ):
                if not answer.is_success:
                    raise NotTaken(f"{self.host} answered {answer.status_code}")
        except TimeoutError as error:
            raise NotTaken(f"{self.host} did not answer within {TAKE_S:g} s") from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise NotTaken(f"{self.host}: {type(error).__name__}: {error}") from error

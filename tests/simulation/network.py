"""What lies between callers and the service: requests and answers come late, twice, garbled or never."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import httpx
from life import Died, Life

LOST_S = 60.0
"""Longer than any caller waits."""
TROUBLE = ("lost", "lost", "answer lost", "answer lost", "late", "twice", "garbage", "bad gateway")


class Network(httpx.AsyncBaseTransport):
    """Every caller's transport. ``tell`` hears of every exchange."""

    def __init__(self, chance: random.Random, tell: Callable[..., None]) -> None:
        self._chance = chance
        self._tell = tell
        self._service: httpx.ASGITransport | None = None
        self._life: Life | None = None
        self.calm = False
        self.seen: Counter[str] = Counter()

    def up(self, service: httpx.ASGITransport, life: Life) -> None:
        """Something listens."""
        self._service, self._life = service, life

    def down(self) -> None:
        """Nothing listens."""
        self._service = self._life = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange. Raises what httpx raises."""
        content = await request.aread()
        await asyncio.sleep(self._chance.choice((0.001, 0.001, 0.02, 0.3)))
        trouble = self._chance.choice(TROUBLE) if not self.calm and self._chance.random() < 0.3 else ""
        self.seen["requests"] += 1
        if trouble:
            self.seen[f"network {trouble}"] += 1
        if trouble == "lost":
            await asyncio.sleep(LOST_S)
            raise httpx.ReadTimeout("lost", request=request)
        if trouble == "garbage":
            return httpx.Response(200, content=b"<html>It works!</html>", request=request)
        if trouble == "bad gateway":
            return httpx.Response(502, content=b"", request=request)
        answers = [await self._serve(request, content) for _ in range(1 + (trouble == "twice"))]
        if trouble == "answer lost":
            raise httpx.ReadError("reset", request=request)
        if trouble == "late":
            await asyncio.sleep(LOST_S)
        return answers[-1]

    async def _serve(self, request: httpx.Request, content: bytes) -> httpx.Response:
        service, life = self._service, self._life
        if service is None or life is None or life.over:
            raise httpx.ConnectError("refused", request=request)
        try:
            answer = await life.while_alive(_answered(service, request, content))
        except Died as gone:
            raise httpx.ReadError("the peer has gone", request=request) from gone
        self._tell("exchange", request.method, request.url.path, content, answer.status_code)
        return answer


async def _answered(service: httpx.ASGITransport, request: httpx.Request, content: bytes) -> httpx.Response:
    again = httpx.Request(request.method, request.url, headers=request.headers, content=content)
    answer = await service.handle_async_request(again)
    return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread(), request=request)

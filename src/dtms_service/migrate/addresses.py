"""Which service does an address mean? Pure, on text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from dtms_service.migrate.names import NOWHERE, PROXIED, PROXY_PORT, WRONG_PORT

_URL = re.compile(r"(?:https?|wss?)://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\]):(\d{2,5})(?!\d)(/[^\s'\"<>`|,)]*)?")


class Meaning(Enum):
    """What listens at an address, as far as its text tells."""

    DTMS = "DTMS"
    BASE = "the port of DTMS without a path"
    FOREIGN = "another program, at the port of DTMS"
    NOWHERE = "a path that never existed"


@dataclass(frozen=True, slots=True)
class Address:
    """One address in a text. ``head`` is what a rewriting takes away from its front, ``path`` what stays, or None."""

    start: int
    text: str
    meaning: Meaning
    head: str
    path: str


def found(text: str, port: int) -> Iterator[Address]:
    """Every address in ``text`` that concerns DTMS, whose port is ``port``."""
    for match in _URL.finditer(text):
        address = _of(match, port)
        if address is not None:
            yield address


def whole(text: str, port: int) -> Address | None:
    """The address that ``text`` is, beginning to end (a format's braces are part of it)."""
    match = _URL.match(text)
    if match is None or re.search(r"\s", text):
        return None
    return _of(match, port)


def _of(match: re.Match[str], port: int) -> Address | None:
    number, path = int(match[1]), match[2] or ""
    head = match[0][: len(match[0]) - len(path)]
    if number in {port, WRONG_PORT} and _is_ours(path):
        return Address(match.start(), match[0], Meaning.DTMS, head, path)
    if number == port:
        meaning = Meaning.BASE if path in {"", "/"} else Meaning.FOREIGN
        return Address(match.start(), match[0], meaning, head, path)
    if number == PROXY_PORT:
        return _proxied(match, head, path)
    return None


def _proxied(match: re.Match[str], head: str, path: str) -> Address | None:
    for old, new in PROXIED.items():
        if path == old or (old.endswith("/") and path.startswith(old)):
            taken = old.removesuffix(new)
            return Address(match.start(), match[0], Meaning.DTMS, head + taken, path.removeprefix(taken))
    if path.rstrip("/") in NOWHERE:
        return Address(match.start(), match[0], Meaning.NOWHERE, head, path)
    return None


def _is_ours(path: str) -> bool:
    return path == "/dtms" or path.startswith(("/dtms/", "/trade-registry/"))

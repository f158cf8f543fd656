"""Frames between the service and the terminal's child process: ``u32 total | u32 head | head as JSON | raw blobs``.

Lengths are little-endian; ``total`` counts what follows it. Arrays travel as their own bytes, structures as JSON
arrays in the order of their fields with the names once per answer (50 positions: 4.9 kB instead of 13.6 kB as
objects). numpy only.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

LENGTH = struct.Struct("<I")
MAX_BYTES = 256 * 2**20
"""A longer frame is not one of ours: 250 bytes per position leave room for a million of them."""

Head = Mapping[str, Any]


class BadFrame(ValueError):
    """The bytes are not a frame: the other side is not to be believed any more."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A tuple of structures: the names of their fields and one row per structure."""

    names: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


def pack(head: Head, blobs: Sequence[bytes] = ()) -> bytes:
    """One frame. ``head`` must be JSON."""
    text = json.dumps({**head, "blobs": [len(blob) for blob in blobs]}, separators=(",", ":")).encode()
    total = LENGTH.size + len(text) + sum(map(len, blobs))
    return b"".join((LENGTH.pack(total), LENGTH.pack(len(text)), text, *blobs))


def total_of(prefix: bytes) -> int:
    """Number of bytes that follow the first four. Raises ``BadFrame``."""
    (total,) = LENGTH.unpack(prefix)
    if not LENGTH.size <= total <= MAX_BYTES:
        message = f"a frame of {total} bytes"
        raise BadFrame(message)
    return int(total)


def unpack(body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Head and blobs of the bytes after the first four. Raises ``BadFrame``."""
    (length,) = LENGTH.unpack_from(body)
    start = LENGTH.size + length
    try:
        head = json.loads(body[LENGTH.size : start])
        sizes = head["blobs"]
        ends = list(itertools.accumulate(sizes, initial=start))
    except (ValueError, TypeError, KeyError) as error:
        message = f"no head that can be read ({error})"
        raise BadFrame(message) from error
    if ends[-1] != len(body):
        message = f"{len(body)} bytes where the head says {ends[-1]}"
        raise BadFrame(message)
    return head, [body[begin:end] for begin, end in itertools.pairwise(ends)]


def encode(value: Any, blobs: list[bytes]) -> list[Any]:
    """A value as the backend returned it, tagged: ``a`` array, ``s`` structure, ``r`` structures, ``v`` other JSON."""
    if isinstance(value, np.ndarray):
        blobs.append(value.tobytes())
        return ["a", value.dtype.descr, len(blobs) - 1]
    if hasattr(value, "_asdict"):
        return ["s", list(value._asdict()), tuple(value)]
    if isinstance(value, tuple) and (not value or hasattr(value[0], "_asdict")):
        return ["r", list(value[0]._asdict()) if value else [], value]
    return ["v", value]


def decode(coded: Sequence[Any], blobs: Sequence[bytes]) -> Any:
    """What ``encode`` wrote: an array, one structure as a dict, ``Rows``, or plain JSON. Raises ``BadFrame``."""
    match coded:
        case ["a", descr, index]:
            return np.frombuffer(blobs[index], _dtype(tuple(map(tuple, descr))))
        case ["s", names, fields]:
            return dict(zip(names, fields, strict=True))
        case ["r", names, rows]:
            return Rows(tuple(names), rows)
        case ["v", value]:
            return value
    message = f"a value with an unknown tag: {str(coded)[:80]}"
    raise BadFrame(message)


@lru_cache(maxsize=16)
def _dtype(descr: tuple[tuple[str, str], ...]) -> np.dtype[Any]:
    return np.dtype(list(descr)) if descr[0][0] else np.dtype(descr[0][1])

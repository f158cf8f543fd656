"""Calls on a module-shaped MetaTrader5, real or simulated: the whole intelligence of the child process.

The same function serves the child and the link without a process, so that tests under virtual time run the code that
trades.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dtms_service.terminal.frames import encode

Backend = Any
"""A module, or an object shaped like one: functions, constants and ``last_error`` of MetaTrader5."""


def open_backend(
    name: str, options: Mapping[str, Any], wall: Callable[[], float], sleep: Callable[[float], None]
) -> Backend:
    """Open the backend in module ``name``. Raises ``ValueError`` with one sentence when its options are wrong."""
    return importlib.import_module(name).open_backend(options, wall=wall, sleep=sleep)


def answer(backend: Backend, head: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Head and blobs that answer a request: its calls in their order, each with the ``last_error`` read right after it.

    ``last_error`` is one global that every call overwrites, so it is part of the call. ``took`` is the sum of the
    virtual seconds that a simulated backend says its calls would have lasted.
    """
    blobs: list[bytes] = []
    took = 0.0
    results = []
    measure = getattr(backend, "took", None)
    for name, args, kwargs in head["calls"]:
        results.append(_call(backend, name, args, kwargs, blobs))
        took += measure() if measure is not None else 0.0
    return {"id": head["id"], "results": results, "took": took}, blobs


def _call(
    backend: Backend, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], blobs: list[bytes]
) -> tuple[list[Any], int, str]:
    try:
        value = encode(getattr(backend, name)(*args, **kwargs), blobs)
        code, text = backend.last_error()
    except Exception as error:  # noqa: BLE001 - R46: the child's call boundary; the extension raises SystemError too
        return ["x", type(error).__name__, str(error)], 0, ""
    return value, code, text

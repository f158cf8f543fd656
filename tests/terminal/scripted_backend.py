"""A backend for link and gateway tests: does what its name says or what its script says, in the child or in line.

``options["script"]`` maps a function (or function and first argument, ``symbol_info EURUSD``) to its answers, the last
one for ever: ``{"struct": {...}}``, ``{"structs": [...]}``, ``{"value": JSON}``, each with an optional ``error`` (code,
text), or ``{"raises": text}``. A function that has no script is one of the class below.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

SUCCESS = (1, "Success")


def open_backend(options: Mapping[str, Any], **_timing: object) -> Scripted:
    if "refuse" in options:
        raise ValueError(options["refuse"])
    return Scripted(options.get("script", {}))


class Scripted:
    def __init__(self, script: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._error = SUCCESS
        self._script = {name: list(answers) for name, answers in script.items()}
        for name in {line.partition(" ")[0] for line in script}:
            setattr(self, name, partial(self._answer, name))

    def _answer(self, name: str, *args: object, **_kwargs: object) -> object:
        answers = self._script.get(f"{name} {args[0]}" if args else name) or self._script[name]
        return self._play(answers[0] if len(answers) == 1 else answers.pop(0))

    def _play(self, line: Mapping[str, Any]) -> object:
        if "raises" in line:
            raise SystemError(line["raises"])
        self._error = tuple(line.get("error", SUCCESS))
        if "struct" in line:
            return struct(line["struct"])
        if "structs" in line:
            return tuple(struct(fields) for fields in line["structs"])
        return line.get("value")

    def last_error(self) -> tuple[int, str]:
        return self._error

    def shutdown(self) -> bool:
        return True

    def initialize(self) -> bool:
        return True

    def symbol_select(self, _symbol: str) -> bool:
        return True

    def echo(self, value: object) -> object:
        return value

    def pid(self) -> int:
        return os.getpid()

    def arguments(self) -> list[str]:
        return sys.argv[1:]

    def hang(self) -> None:
        time.sleep(3600)

    def die(self) -> None:
        os._exit(9)

    def simulator_clock(self) -> None:
        self.die()

    def simulator_close_position(self, _ticket: int, _volume: float | None) -> None:
        self.die()

    def babble(self, number: int) -> None:
        write_nonsense(number)
        time.sleep(3600)

    def babble_later(self) -> None:
        threading.Timer(0.1, write_nonsense, (3,)).start()

    def die_and_leave_a_process(self) -> None:
        if os.fork() == 0:
            time.sleep(5)
        os._exit(9)

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def talk(self) -> str:
        print("a library that prints")
        return "said"

    def fail(self) -> None:
        message = "returned a result with an exception set"
        raise SystemError(message)


def write_nonsense(number: int) -> None:
    """``number`` bytes that are no frame, where the worker writes its frames: the one pipe that takes them."""
    for descriptor in range(3, 20):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"\xff" * number)


def struct(fields: Mapping[str, Any]) -> Any:
    """What MetaTrader answers with: a tuple whose fields have names."""
    return namedtuple("Struct", fields)(**fields)

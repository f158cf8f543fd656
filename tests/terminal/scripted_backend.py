"""A backend for link tests: does what its name says, in the child or in line."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any


def open_backend(options: Mapping[str, Any], **_timing: object) -> Scripted:
    if "refuse" in options:
        raise ValueError(options["refuse"])
    return Scripted()


class Scripted:
    def last_error(self) -> tuple[int, str]:
        return 1, "Success"

    def shutdown(self) -> bool:
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

    def talk(self) -> str:
        print("a library that prints")
        return "said"

    def fail(self) -> None:
        message = "returned a result with an exception set"
        raise SystemError(message)

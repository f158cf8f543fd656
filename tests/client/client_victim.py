"""Forks a child per line of input; it registers from that ticket on and says each that is safe, until it is killed."""

from __future__ import annotations

import logging
import os
import sys

from dtms_client import DtmsClient


def register_for_ever(ticket: int) -> None:
    client = DtmsClient(timeout=1.0, retries=1)
    os.write(1, f"pid {os.getpid()}\n".encode())
    while True:
        ticket += 1
        if client.register(ticket, {"symbol": "EURUSD", "side": "buy"}).safe:
            os.write(1, f"{ticket}\n".encode())


logging.disable(logging.CRITICAL)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        register_for_ever(int(line))
    os.waitpid(child, 0)
    os.write(1, b"dead\n")

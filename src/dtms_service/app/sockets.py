"""The service's own listening sockets, bound and listening first, so that a taken port is known before anything starts.

Windows parts follow the documentation and have not been run yet.
"""

from __future__ import annotations

import errno
import socket
import sys

from dtms_service.app.leaving import PORT_TAKEN, Exit
from dtms_service.app.port_holder import speaker
from dtms_service.settings.tree import is_loopback

BACKLOG = 2048
_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""What a machine without IPv6 answers to ``::1``."""


def listening(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on ``host``; loopback means 127.0.0.1 and, where it exists, ::1 (R34).

    Raises `Exit` 74 when the port is taken or the address cannot be used.
    """
    hosts = ["127.0.0.1", "::1"] if is_loopback(host) else [host]
    sockets: list[socket.socket] = []
    try:
        for name in hosts:
            try:
                sockets.append(_listening(name, port))
            except OSError as error:
                if error.errno not in _ABSENT or not sockets:
                    raise
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise _refused(host, port, error) from error
    return sockets


def _listening(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # IPPROTO_TCP spelled out: asyncio sets TCP_NODELAY only on sockets that say so; without it a request takes 43 ms
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # after a hard kill the port is in TIME_WAIT; this does not let two listeners share it
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)  # binding alone is no exclusivity on Linux: the second listen is what fails
    except OSError:
        made.close()
        raise
    made.settimeout(0)
    return made


def _refused(host: str, port: int, error: OSError) -> Exit:
    if error.errno in {errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", None)}:
        who = speaker(host, port)
        sentence = f"port {port} on {host} is taken by {who}. Try: stop it, or choose another with --port"
    else:
        reason = error.strerror or error
        sentence = f"cannot listen on {host} port {port}: {reason}. Try: another --host or --port"
    return Exit(PORT_TAKEN, sentence)

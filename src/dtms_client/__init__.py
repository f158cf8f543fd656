"""The client of DTMS: puts trades under protection and asks about them. Imports nothing of the service.

Start with `DtmsClient` (or `AsyncDtmsClient`); programs that used the old functions keep them in `dtms_client.legacy`.
"""

from dtms_client.aio import AsyncDtmsClient
from dtms_client.delivery import Registration
from dtms_client.errors import (
    BadSetting,
    Conflict,
    DtmsClientError,
    Invalid,
    NotDtms,
    NotFound,
    NotReady,
    OutboxFull,
    OutboxUnavailable,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreachable,
)
from dtms_client.legacy import auto_register_dtms, register_trade_with_dtms_api
from dtms_client.sync import DtmsClient

__all__ = [
    "AsyncDtmsClient",
    "BadSetting",
    "Conflict",
    "DtmsClient",
    "DtmsClientError",
    "Invalid",
    "NotDtms",
    "NotFound",
    "NotReady",
    "OutboxFull",
    "OutboxUnavailable",
    "RateLimited",
    "Registration",
    "Rejected",
    "Unauthorized",
    "Unreachable",
    "auto_register_dtms",
    "register_trade_with_dtms_api",
]

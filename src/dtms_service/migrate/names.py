"""What old programs import and call, and what of it the client still has (contract.md 7 and 8.5). Literal tables."""

from __future__ import annotations

from collections.abc import Mapping

OLD_PACKAGE = "dtms_integration"
LEGACY = "dtms_client.legacy"
POSTING = "dtms_client.posting"

REGISTERING = frozenset({"auto_register_dtms", "add_trade_to_dtms", "register_trade_with_dtms_api"})
"""Put a trade under protection; the answer says whether it worked."""
RELEASING = frozenset({"remove_trade_from_dtms"})
"""Take a trade out of protection for good."""
ASKING = frozenset(
    {"get_dtms_system_status", "get_dtms_trade_status", "get_dtms_action_history", "is_dtms_initialized"}
)
ENGINE = frozenset(
    {
        "get_dtms_engine",
        "initialize_dtms",
        "start_dtms_monitoring",
        "stop_dtms_monitoring",
        "run_dtms_monitoring_cycle",
        "get_http_client",
        "close_http_client",
    }
)
"""Meant an engine in the caller's process: the client keeps the names, and they do nothing."""
KEPT = REGISTERING | RELEASING | ASKING | ENGINE
"""Every old name that `dtms_client.legacy` still has."""
AWAITED = frozenset({"register_trade_with_dtms_api", "run_dtms_monitoring_cycle", "enable_trade_async"})
"""Coroutines: without ``await`` nothing happens."""
POSTS = frozenset({"enable_trade", "enable_trade_async"})
"""What a post of a registration is rewritten to."""

OTHER_ENGINES = frozenset({"dtms_core", "dtms_unified_pipeline_integration", "dtms_api_server"})
"""Modules that bring an engine of their own; ``dtms_enhancement`` belongs to the tick pipeline and stays."""
ENGINE_FILES = frozenset(
    {
        "dtms_api_server.py",
        "initialize_dtms.py",
        "dtms_integration.py",
        "dtms_config.py",
        "dtms_unified_pipeline_integration.py",
    }
)
ENGINE_FOLDERS = frozenset({OLD_PACKAGE, "dtms_core"})
SHIM_MARK = "Written by dtms migrate-callers --shim"
"""A package that carries it is ours: it is neither reported nor rewritten."""

WRONG_PORT = 8002
"""Where some old callers looked for DTMS; the phone hub listens there."""
PROXY_PORT = 8000
"""The main API, which passes ``/api/dtms/…`` on."""
PROXIED: Mapping[str, str] = {
    "/api/dtms/status": "/dtms/status",
    "/api/dtms/actions": "/dtms/actions",
    "/api/dtms/engine": "/dtms/engine",
    "/api/dtms/trade/": "/dtms/trade/",
    "/dtms/status": "/dtms/status",
}
"""Path at the main API (a slash at the end: whatever follows) and the same question at DTMS itself."""
NOWHERE = ("/mt5/dtms", "/dtms")
"""Paths at the main API that never existed; a caller that asks them always heard "unreachable"."""
ENABLE = "/dtms/trade/enable"

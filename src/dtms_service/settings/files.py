"""Which settings file is read? Nothing else, so that a command that only asks the service need not load the tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CONFIG = "DTMS_CONFIG"
DEFAULT_FILE = Path("config", "dtms.toml")


def named_file(env: Mapping[str, str]) -> Path | None:
    """The file of ``DTMS_CONFIG``, else ``config/dtms.toml`` under the working directory if it is there."""
    if env.get(CONFIG):
        return Path(env[CONFIG]).expanduser()
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None

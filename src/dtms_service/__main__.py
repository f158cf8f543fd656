"""``python -m dtms_service`` is ``dtms``."""

from __future__ import annotations

from dtms_service.cli import main

if __name__ == "__main__":
    main()

"""Runs the steps on the connection it was handed, inside the transaction that is already open."""

from __future__ import annotations

from alembic import context

from dtms_service.ledger.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()

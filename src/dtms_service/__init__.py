"""DTMS: the one authority that watches MetaTrader 5 positions and reduces their risk.

Rooms open downwards only (docs/explanation/architecture.md); this file imports nothing, so that
the terminal's child process can start from the same package and stay light.
"""

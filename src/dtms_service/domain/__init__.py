"""The trading rules as functions of values. Standard library only: no I/O, no clock, no randomness."""

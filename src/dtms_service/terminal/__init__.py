"""MetaTrader 5: the gateway in this process, the worker in a child process, and the two terminals behind it.

Imports nothing: the child process starts here and must stay light.
"""

"""The built-in terminal: a module-shaped stand-in for MetaTrader5, with its own market, broker and durable account."""

"""The durable record: trades, events and intents on SQLite, one writer. The only door to SQLAlchemy."""

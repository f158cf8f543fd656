"""HTTP in, HTTP out. No rules live here: parse, convert, call the engine, convert, answer."""

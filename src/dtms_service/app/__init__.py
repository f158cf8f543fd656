"""The one place where rooms are put together: builds them, starts them in order, stops them in order. No rules."""

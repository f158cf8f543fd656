"""Rewrites programs that used the old DTMS to the client, and names what a person must look at."""

"""How the tables came to be, one step per file. Run by the service itself; never edited once released."""

"""Orchestration: reads, decides through the domain, journals, acts. Knows ports, never libraries or adapters."""

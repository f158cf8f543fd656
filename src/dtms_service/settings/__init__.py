"""What the operator chose: the tree, and how it is read.

Knows the client's `places` and no other room; only ``app`` and ``cli`` read it.
"""

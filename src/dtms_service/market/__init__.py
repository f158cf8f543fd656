"""From bars to a market view. Empty on purpose: the terminal's child imports ``market.bars`` and must not pay for TA-Lib."""

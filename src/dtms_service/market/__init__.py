"""From bars to a market view. Left empty on purpose: the terminal's child imports ``market.bars`` and must not pay for TA-Lib."""

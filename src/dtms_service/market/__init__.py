"""From bars to a market view. Imports nothing, so that the terminal's child gets ``market.bars`` without TA-Lib."""

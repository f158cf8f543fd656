"""What each command of ``dtms`` does. One module per question; ``cli`` loads only the one that is asked for."""

"""How people outside hear of it: lines in the log, signed posts, and a ping whose absence is the message."""

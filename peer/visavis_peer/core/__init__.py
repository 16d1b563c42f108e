"""The agent's decisions without I/O: time, randomness and observations come in, lists of effects go out."""

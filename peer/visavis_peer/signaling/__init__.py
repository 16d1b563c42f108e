"""The connection to the signaling server, and what goes over it."""

"""Parts of the signaling connection that need no I/O: when to come again, what to send again, what to report."""

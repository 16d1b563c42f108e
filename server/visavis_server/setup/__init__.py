"""What the server is told before it starts: settings, keys, secrets, logs."""

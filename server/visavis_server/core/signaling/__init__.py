"""Messages: who is connected, who is in which room, what each message does."""

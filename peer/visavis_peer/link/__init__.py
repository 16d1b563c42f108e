"""What an application holds: a link to one peer, whatever path carries it."""

"""Who is in the room, and the negotiation with each of them, without I/O."""

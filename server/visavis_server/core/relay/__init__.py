"""The relay's books."""

"""The remote agents of one room: who is dealt with, by which sessions, and which link comes of it."""

"""The domain of the server without I/O: it is told the time and returns what is to be done."""

"""What shows an operator how the server does: metrics."""

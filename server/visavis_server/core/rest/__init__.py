"""What REST and the operator's API answer."""

"""Who may do what, and how often: tokens, rates, addresses, what is refused."""

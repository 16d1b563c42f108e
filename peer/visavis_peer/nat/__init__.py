"""What is learnt of the NAT before this machine, with the servers that help to learn it."""

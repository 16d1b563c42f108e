"""NAT behaviour, and the ways through: reports, prediction, plans and probing, without I/O."""

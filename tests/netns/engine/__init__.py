"""What the lab runs as processes of their own: a cable and a NAT in user space, each a sans-IO core in a thin shell.

It is apart from the lab, which starts it, so that a process loads only what it needs.
"""

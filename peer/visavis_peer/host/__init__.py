"""What the agent asks of the machine that it runs on, one matter a module."""

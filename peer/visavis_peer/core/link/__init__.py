"""Parts of a link that need no I/O: paths, credit, liveness, kinds of streams."""

"""Starting a worker, talking to it, noticing how it ends."""

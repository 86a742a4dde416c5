"""A run: what was asked for, what happened, and how to go on with it."""

"""Checkpoints from a hub: asked for, fetched, checked, deleted."""

"""Snippets: recordings with references, from a folder or a manifest."""

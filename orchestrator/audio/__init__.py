"""Recordings: decoded block by block to what every model gets, or refused."""

"""Envs: built from a stack's lock by uv, proved from inside, whole or absent."""

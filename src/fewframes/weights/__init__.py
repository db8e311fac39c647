"""Weights in and out: our own checkpoints and everybody else's files."""

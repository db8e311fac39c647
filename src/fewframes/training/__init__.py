"""Training: a complete config comes in, a checkpoint goes out."""

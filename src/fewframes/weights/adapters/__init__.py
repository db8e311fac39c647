"""One table of names per foreign layout: a foreign state dict comes in, ours goes out."""

"""From a file to a float clip: choose frames, read them, transform them."""

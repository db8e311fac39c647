"""Lists of labelled videos, and the clips that training draws from them."""

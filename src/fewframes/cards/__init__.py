"""The catalogue's cards, one file per family: what is known of each model, as literal facts."""

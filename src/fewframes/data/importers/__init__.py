"""Published annotation files come in, one file for each data set; lists of labelled videos go out."""

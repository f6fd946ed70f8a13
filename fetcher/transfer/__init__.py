"""One file's way from its turn to its verified bytes; knows no protocol."""

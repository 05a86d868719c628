"""One equation a file. A loss returns an unsigned gap; the method sets sign and weight."""

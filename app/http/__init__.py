"""What endpoints share: bodies, lists, problems, and the description of them all."""

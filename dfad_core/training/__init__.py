"""Training: the loop, its phases, what one run is made of, and how a run is stopped and resumed."""

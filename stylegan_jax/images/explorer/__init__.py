"""`--mode=explore`: a local page to play with networks."""

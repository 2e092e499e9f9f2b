"""Collectors that book into one store: what they say to each other of a trace that they share."""

"""Moments, money and counts: the conversions and the texts that are the same everywhere."""

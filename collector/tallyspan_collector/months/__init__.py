"""Months that finance closes: what is checked, what is kept, how one is opened again."""

"""What the collector counts of itself, and its log of that in the store."""

"""What the collector counts of its own work, and the copy of the counts in the store."""

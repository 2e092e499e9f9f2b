"""Files that people write, read with line numbers."""

"""What a LibreChat will not report, by its settings, and the line that changes it."""

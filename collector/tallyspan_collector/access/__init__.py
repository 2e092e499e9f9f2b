"""Who may read costs: keys, tokens, sessions, and the note of every request."""

"""Users, their departments and names: from a file, into the store, onto calls."""

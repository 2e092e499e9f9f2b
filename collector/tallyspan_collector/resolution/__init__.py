"""One call, one charge: which spans of a trace report the same call, and what is booked for it."""

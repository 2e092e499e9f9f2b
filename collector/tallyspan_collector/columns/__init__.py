"""Calls as columns: spans are read into tables, a row a call, without an object for each."""

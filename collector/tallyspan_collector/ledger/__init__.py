"""Calls and their cost as entries of the ledger."""

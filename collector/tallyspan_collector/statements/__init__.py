"""Statements of a month: what a department or cost centre is shown, as PDF, CSV, Parquet, JSON."""

"""The processes of a collector: what listens, what loads, who watches whom."""

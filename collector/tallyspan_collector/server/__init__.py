"""The processes of a collector, their listeners, and the store they open."""

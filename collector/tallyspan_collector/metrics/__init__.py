"""The collector's metrics: counted, added up over its processes, written to the store."""

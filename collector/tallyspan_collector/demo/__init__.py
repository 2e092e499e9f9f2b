"""The demo: recorded traffic of providers, replayed through the real SDKs, with its cost."""

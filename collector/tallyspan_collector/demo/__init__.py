"""The demo: real recorded provider traffic through the real SDKs, and what it cost."""

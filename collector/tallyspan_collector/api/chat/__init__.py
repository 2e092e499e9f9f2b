"""Costs over MCP: tools of a chat, for its users and for admins; see docs/librechat.md."""

"""What LangChain's `usage_metadata` has in common, whoever exports it.

Source: langchain-openai, chat_models/base.py; langchain-anthropic, chat_models.py.
"""

TIERS = ("priority", "flex")
"""Service tiers that the names of parts begin with: `priority_cache_read`, `priority_reasoning`.

`priority` alone is the rest of the whole, with cache writes, without cache reads and reasoning.
"""
LIFETIMES = {"5m": "ephemeral_5m_input_tokens", "1h": "ephemeral_1h_input_tokens"}
"""Lifetimes of Anthropic's cache writes; `cache_creation` is 0 where these are reported."""

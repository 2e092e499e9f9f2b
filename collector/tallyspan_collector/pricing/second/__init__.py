"""A second source of prices: LiteLLM's map, read as data, and compared with what we charge."""

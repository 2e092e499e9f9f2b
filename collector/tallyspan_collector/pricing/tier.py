"""Service tiers: which ones are billed as standard, and one name for each of the others."""

STANDARD_TIERS = frozenset({"", "default", "standard", "auto", "on_demand"})
_NAMES = {"on_demand_flex": "flex", "on_demand_priority": "priority"}


def tier_name(tier: str) -> str:
    """Return the tier as price data names it; empty for what is billed as standard."""
    low = tier.lower()
    return "" if low in STANDARD_TIERS else _NAMES.get(low, low)

"""Usage analytics and subscription pricing, from counters."""

"""The operations that an operator runs: load, import, replay, rebuild, withdraw."""

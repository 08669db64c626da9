"""What an operator runs: load, import, replay, rebuild, withdraw."""

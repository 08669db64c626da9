"""What the tests share: worlds, tables, the oracle."""

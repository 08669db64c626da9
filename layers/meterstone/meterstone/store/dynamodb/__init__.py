"""DynamoDB itself: the table, its keys, what fits in a call, and leases."""

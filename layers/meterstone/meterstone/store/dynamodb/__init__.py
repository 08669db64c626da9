"""DynamoDB itself: the table, its keys, leases."""

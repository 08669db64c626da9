"""What the catalogue says: organizations, subscriptions, whose event it is, API keys."""

"""The catalogue: organizations, subscriptions, API keys, and the subjects that events belong to."""

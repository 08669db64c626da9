"""Stored events: the log, unmatched and unreadable events, and quarantined records."""

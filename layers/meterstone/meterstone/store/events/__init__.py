"""Events on their way in: the log, the unmatched, the quarantined."""

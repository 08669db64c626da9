"""Usage: meters, aggregations, the calendar, billing periods and windows over counters. No AWS, no HTTP."""

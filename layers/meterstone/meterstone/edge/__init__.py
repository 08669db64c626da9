"""The application: routes, keys, the log line, and what becomes of exceptions."""

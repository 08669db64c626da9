"""The application: routes, keys, the log line, and the replies to exceptions."""

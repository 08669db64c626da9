"""The two APIs as they are on the wire: Lago's usage analytics, Flexprice's usage by subscription, events of both.

`message` has what both share, `lago` and `flexprice` read requests and write replies and errors in their own
shapes, `lago_events` and `flexprice_events` do so for events, `http` is the edge: routes, keys, the log line, and
what becomes of exceptions. Nothing here knows of storage.
"""

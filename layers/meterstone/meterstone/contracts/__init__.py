"""The two APIs as they are on the wire: Lago's usage analytics, Flexprice's usage by subscription, events of both.

`message` has requests and replies, which both APIs share. `lago` and `flexprice` read requests, and write replies
and errors, in the shapes of their API. `lago_events` and `flexprice_events` do so for events; `events` is shared
by both. Nothing here knows of storage.
"""

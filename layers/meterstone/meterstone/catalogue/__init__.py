"""The catalogue, changed one record at a time.

`models`, `prices` and `record` have the records as people write them, which are pydantic models, and `values` the
types of their fields. `reading` reads one record and tells its errors, and `building` makes the value that it
stands for. `rules` says what does not go together, and what a change would move. `management` is what others call.

pydantic takes long to import, and the layer does not bring it. So no other room may import this one or pydantic.
"""

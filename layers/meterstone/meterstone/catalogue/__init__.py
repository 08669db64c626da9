"""The catalogue's records as people write them: what may stand in one, and how each field is read.

`models` and `prices` have the records, which are pydantic models, and `values` the types of their fields. pydantic
takes long to import, and the layer does not bring it. So no other room may import this one or pydantic.
"""

"""The catalogue's records as people write them: how each is read, what is wrong with it, which value it becomes.

`models` and `prices` have the records, which are pydantic models, and `values` the types of their fields.
`reading` reads one record and tells its errors, and `building` makes the value that it stands for.

pydantic takes long to import, and the layer does not bring it. So no other room may import this one or pydantic.
"""

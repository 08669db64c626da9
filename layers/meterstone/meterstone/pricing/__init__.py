"""Prices, tiers, commitments and money: values in, lines out. Nothing here knows of AWS, HTTP or the clock.

Errors:

    PricingError (a ValueError)
    ├── NumberError
    │   ├── NotANumberError
    │   └── NumberOutOfRangeError
    └── UnknownCurrencyError

Modules: `money` (exact arithmetic, rounding, text), `currency`, `price` (what a catalogue says), `cost` (what
a quantity costs, with a file per billing model), `lines` (why it costs that), `commitment` (what is overage).
"""

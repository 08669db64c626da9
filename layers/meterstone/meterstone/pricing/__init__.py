"""Prices, tiers, commitments and money: values in, lines out. Nothing here knows of AWS, HTTP or the clock.

Errors:

    PricingError (a ValueError)
    ├── NumberError
    │   ├── NotANumberError
    │   └── NumberOutOfRangeError
    └── UnknownCurrencyError

Modules: `money` (exact arithmetic, rounding, text), `currency`, `price` (a price of a catalogue, and its checks),
`cost` (the cost of a quantity, with a file for each billing model), `lines` (the lines that explain a cost),
`commitment` (the division into usage and overage).
"""

"""The errors of pricing."""


class PricingError(ValueError):
    """A value that pricing cannot work with."""


class NumberError(PricingError):
    """A value that came from outside is no usable number."""


class NotANumberError(NumberError):
    """The value is neither an integer, nor a finite decimal, nor text of the form `-12.5`."""


class NumberOutOfRangeError(NumberError):
    """The number has more digits than are allowed in its place."""


class UnknownCurrencyError(PricingError):
    """The code is no ISO 4217 currency with a minor unit."""

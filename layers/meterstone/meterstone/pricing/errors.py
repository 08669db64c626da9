"""What goes wrong in pricing."""


class PricingError(ValueError):
    """A value that pricing cannot work with."""


class NumberError(PricingError):
    """A value at the door that is no usable number."""


class NotANumberError(NumberError):
    """Neither an integer, nor a finite decimal, nor text of the form `-12.5`."""


class NumberOutOfRangeError(NumberError):
    """A number with more digits than are taken at its place."""


class UnknownCurrencyError(PricingError):
    """A code that is no ISO 4217 currency with a minor unit."""

"""What goes wrong in pricing. Each class has a `code`, which the contracts map to their own envelopes."""

from typing import ClassVar


class PricingError(ValueError):
    """A value that pricing cannot work with."""

    code: ClassVar[str] = "pricing_error"


class NumberError(PricingError):
    """A value at the door that is no usable number."""

    code = "invalid_number"


class NotANumberError(NumberError):
    """Neither an integer, nor a finite decimal, nor text of the form `-12.5`."""

    code = "not_a_number"


class NumberOutOfRangeError(NumberError):
    """A number with more digits than are taken at its place."""

    code = "number_out_of_range"


class UnknownCurrencyError(PricingError):
    """A code that is no ISO 4217 currency with a minor unit."""

    code = "unknown_currency"

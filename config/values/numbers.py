"""Numbers as the database gives them back."""

_EXPONENT_FROM = 1e16
_INT64 = range(-(2**63), 2**63)


def as_stored(number: int | float) -> int | float:
    """Return a number as it will be read: what is answered first, and again later, is spelled alike.

    The database keeps numbers as decimals. It knows no zero below zero, and writes out what Python spells
    with an exponent: such a whole number is an integer from the first. Those beyond 64 bits are read as
    floats again.
    """
    if isinstance(number, int):
        return number
    if number == 0:
        return 0.0
    if abs(number) >= _EXPONENT_FROM and number.is_integer() and int(number) in _INT64:
        return int(number)
    return number

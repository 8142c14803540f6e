"""Normalise numbers to what the database returns."""

_EXPONENT_FROM = 1e16
_INT64 = range(-(2**63), 2**63)


def as_stored(number: int | float) -> int | float:
    """Return a number as it will be read back, so that first and later responses show the same.

    The database stores decimals: it has no negative zero, and returns whole numbers that Python writes with
    an exponent as integers. Integers beyond 64 bits are read as floats.
    """
    if isinstance(number, int):
        return number
    if number == 0:
        return 0.0
    if abs(number) >= _EXPONENT_FROM and number.is_integer() and int(number) in _INT64:
        return int(number)
    return number

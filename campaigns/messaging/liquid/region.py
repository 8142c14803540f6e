"""Format money, numbers and dates for a reader's locale and time zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_currency, format_decimal, get_currency_precision, is_currency
from dateutil import parser
from liquid import Markup, RenderContext
from liquid.exceptions import LiquidTypeError, LiquidValueError

from campaigns.messaging.liquid.values import number_of
from config import clock

DEFAULT_LOCALE: Final = "en"
MAX_DIGITS: Final = 20
_EXACT: Final = Context(prec=400)
"""A float has at most 309 digits before its point."""
_LONGEST_MOMENT: Final = 100
_LENGTHS: Final = ("short", "medium", "long", "full")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TOUCHING: Final = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
"""Matches where a currency's letters touch digits: CLDR sets them apart."""
_WORD: Final = re.compile(r"%([-_0^#]*)([aAbBhp%])")


@dataclass(frozen=True, slots=True)
class Region:
    """A reader's locale and time zone."""

    locale: Locale = field(default_factory=lambda: Locale(DEFAULT_LOCALE))
    zone: tzinfo = field(default_factory=lambda: ZoneInfo("UTC"))


@lru_cache(maxsize=256)
def locale_named(name: str) -> Locale | None:
    """Return the locale of a name (de, de-AT, de_AT, de_AT.UTF-8), of an unknown region its language's, or None."""
    parts = re.split(r"[-_.@]", name.strip()[:35])
    while parts:
        try:
            return Locale.parse("_".join(parts))
        except (UnknownLocaleError, ValueError, TypeError):
            parts.pop()
    return None


def zone_of(name: object) -> tzinfo:
    """Return the time zone of a name. Raises LiquidValueError."""
    try:
        return ZoneInfo(str(name))
    except (KeyError, ValueError, OSError) as error:  # unknown, or no name of a zone at all, such as a path
        raise LiquidValueError(f"no time zone: {str(name)[:100]}", token=None) from error


def money(value: object, currency: object, *, locale: object = None, context: RenderContext) -> str:
    """Format an amount of a currency (ISO code), rounded as it is paid."""
    code = str(currency).strip().upper()
    if not is_currency(code):
        raise LiquidValueError(f"money: no currency: {code[:20]}", token=None)
    with localcontext(_EXACT):
        amount = _rounded(_decimal(value, "money"), get_currency_precision(code))
        return _TOUCHING.sub("\xa0", format_currency(amount, code, locale=_locale(locale, context)))


def number(value: object, digits: object = None, *, locale: object = None, context: RenderContext) -> str:
    """Format a number with separators of thousands and so many digits after the point, by default up to three."""
    chosen = _locale(locale, context)
    amount = _decimal(value, "number")
    if digits is None:
        with localcontext(_EXACT):
            return format_decimal(_rounded(amount, 3), locale=chosen)
    wanted = int(number_of(digits, "number"))
    if not 0 <= wanted <= MAX_DIGITS:
        raise LiquidValueError(f"number: not between 0 and {MAX_DIGITS} digits", token=None)
    pattern = copy(chosen.decimal_formats[None])
    pattern.frac_prec = (wanted, wanted)
    with localcontext(_EXACT):
        return str(pattern.apply(_rounded(amount, wanted), chosen))


def _formatter(by_locale: Callable[..., str], length: str) -> Callable[..., str]:
    """Return the filter that formats a moment: `by_locale` by a length, of itself `length`, else by strftime.

    What is no moment is returned as it is.
    """

    def formatted(
        value: object,
        form: object = length,
        *,
        locale: object = None,
        zone: object = None,
        context: RenderContext,
    ) -> str:
        if not isinstance(form, str):
            raise LiquidTypeError("date: its format is no text", token=None)
        moment = _moment(value, zone_of(zone) if zone is not None else _region(context).zone)
        if moment is None:
            return str(value)
        chosen = _locale(locale, context)
        if form in _LENGTHS:
            return by_locale(moment, form, locale=chosen)
        text = moment.strftime(_WORD.sub(lambda word: _localised(word, moment, chosen), form))
        return Markup(text) if isinstance(form, Markup) else text

    return formatted


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "money": money,
    "number": number,
    "date": _formatter(format_date, "medium"),
    "time": _formatter(format_time, "short"),
    "datetime": _formatter(format_datetime, "medium"),
}


def _region(context: RenderContext) -> Region:
    return getattr(context, "region", None) or Region()


def _locale(asked: object, context: RenderContext) -> Locale:
    named = locale_named(asked) if isinstance(asked, str) else None
    return named or _region(context).locale


def _decimal(value: object, user: str) -> Decimal:
    return Decimal(str(number_of(value, user)))


def _rounded(amount: Decimal, digits: int) -> Decimal:
    """Round half up, as shops do."""
    rounded = amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return abs(rounded) if rounded.is_zero() else rounded


def _localised(word: re.Match[str], moment: datetime, locale: Locale) -> str:
    """Return the locale's name of a day, month or half of the day for a strftime directive."""
    match word[2]:
        case "a":
            text = locale.days["format"]["abbreviated"][moment.weekday()]
        case "A":
            text = locale.days["format"]["wide"][moment.weekday()]
        case "b" | "h":
            text = locale.months["format"]["abbreviated"][moment.month]
        case "B":
            text = locale.months["format"]["wide"][moment.month]
        case "p":
            text = locale.day_periods["format"]["abbreviated"]["am" if moment.hour < 12 else "pm"]
        case _:
            return word[0]
    text = text.upper() if "^" in word[1] else text
    return str(text).replace("%", "%%")


def _moment(value: object, zone: tzinfo) -> datetime | None:
    """Parse a moment into the reader's time zone; a day, or a time without a zone, stays as it is.

    None: the text is none. Raises LiquidTypeError.
    """
    match value:
        case datetime():
            read: datetime | None = value
        case date():
            read = datetime(value.year, value.month, value.day)  # noqa: DTZ001  # a day has no zone
        case bool():
            read = None
        case int() | float():
            return _since_1970(value, zone)
        case str() if value.strip() in ("now", "today"):
            read = clock.now()
        case str() if value.strip().isdecimal():
            return _since_1970(int(value), zone)
        case str():
            read = _read(value.strip(), zone)
            if read is None:
                return None
        case _:
            read = None
    if read is None:
        raise LiquidTypeError("date: not a moment", token=None)
    return read.astimezone(zone) if read.tzinfo is not None else read


def _since_1970(seconds: int | float, zone: tzinfo) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, zone)
    except (OverflowError, OSError, ValueError) as error:
        raise LiquidValueError("date: no such year", token=None) from error


def _read(text: str, zone: tzinfo) -> datetime | None:
    if len(text) > _LONGEST_MOMENT:
        return None
    if _DAY.fullmatch(text):
        try:
            return datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007  # a day has no zone
        except ValueError:
            return None
    today = clock.now().astimezone(zone).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    try:
        read: datetime = parser.parse(text, default=today, tzinfos=_offset)
    except (parser.ParserError, OverflowError, TypeError):
        return None
    return read


def _offset(name: str | None, seconds: int | None) -> tzinfo | None:
    """Return the zone at the end of a time of day, by name or by its offset in seconds; None: not known."""
    if seconds is not None:
        return timezone(timedelta(seconds=seconds))
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None

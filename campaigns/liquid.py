"""Liquid for tenants' texts: strict about what is missing, bounded in time and size, and with no way to Python."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Any, ClassVar, Final, Literal

import nh3
from liquid import BoundTemplate, Environment, RenderContext
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode, CaptureTag
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.stringify import to_liquid_string
from liquid.undefined import FalsyStrictUndefined

from campaigns.errors import TemplateFault, ValueMissing
from config import clock

Kind = Literal["html", "text", "json"]
"""What comes out: decides how values are escaped. Of "json", values in strings are, and `| json` writes others."""

MAX_SOURCE: Final = 200_000
"""Characters of a template."""
MAX_OUTPUT: Final = 1_000_000
"""Bytes of what is made of it."""
MAX_VALUE: Final = 200_000
"""Characters, or bits, of a value on its way; of a list, a hundredth as many elements."""
MAX_SECONDS: Final = 1.0
"""Of the processor, not of the clock: a template is not to blame for a machine that has much else to do."""
MAX_ITERATIONS: Final = 1_000


def parse(source: str, kind: Kind) -> BoundTemplate:
    """Read a template. Raises TemplateFault."""
    if len(source) > MAX_SOURCE:
        raise TemplateFault(f"A template has at most {MAX_SOURCE} characters")
    _refuse_unclosed(source)
    return _parse(source, kind)


def render(source: str, values: Mapping[str, Any], kind: Kind) -> str:
    """Return what a template makes of values; null and blank ones count as missing.

    Raises TemplateFault, ValueMissing.
    """
    template = parse(source, kind)
    try:
        return template.render(present(values))
    except UndefinedError as error:
        raise ValueMissing(_told(error)) from error
    except (LiquidError, ArithmeticError, ValueError, TypeError, RecursionError) as error:
        raise TemplateFault(_told(error)) from error


def present(value: Any) -> Any:
    """Return JSON without what is null or blank, so that a template that prints it is not sent with a hole."""
    match value:
        case Mapping():
            return {key: present(one) for key, one in value.items() if one is not None and one != ""}
        case list() | tuple():
            return [present(one) for one in value]
        case _:
            return value


@lru_cache(maxsize=512)
def _parse(source: str, kind: Kind) -> BoundTemplate:
    try:
        return _environment(kind).from_string(source)
    except (LiquidError, ValueError, RecursionError) as error:
        raise TemplateFault(_told(error)) from error


_OPENING: Final = re.compile(r"\{[{%]")
_VERBATIM: Final = re.compile(r"\{%-?\s*(raw|doc)\s*-?%\}")
_ENDS: Final = {name: re.compile(rf"\{{%-?\s*end{name}\s*-?%\}}") for name in ("raw", "doc")}
_VOID: Final = re.compile(r"\s{200}")
_MAX_BRACKETS: Final = 100


def _refuse_unclosed(source: str) -> None:
    """Refuse what has no end, and tags that are mostly void or brackets: lexers take quadratic time on them."""
    place = 0
    while opening := _OPENING.search(source, place):
        if verbatim := _VERBATIM.match(source, opening.start()):
            end = _ENDS[verbatim[1]].search(source, verbatim.end())
            place = end.end() if end else -1
        else:
            place = source.find("}}" if opening[0] == "{{" else "%}", opening.end()) + 2
        if place < opening.end() or (not verbatim and _is_odd(source, opening.end(), place)):
            line = source.count("\n", 0, opening.start()) + 1
            raise TemplateFault(f"{opening[0]} is never closed, or is no tag, line {line}")


def _is_odd(source: str, start: int, end: int) -> bool:
    brackets = source.count("(", start, end) + source.count("[", start, end)
    return brackets > _MAX_BRACKETS or _VOID.search(source, start, end) is not None


def _told(error: Exception) -> str:
    message = str(getattr(error, "message", "") or error)
    token = getattr(error, "token", None)
    if token is None or not getattr(token, "source", ""):
        return message
    line = token.source.count("\n", 0, token.start_index) + 1
    return f"{message}, line {line}"


class _Missing(FalsyStrictUndefined):
    """A missing value: it may be asked about and be given a default, and not be printed."""

    __slots__ = ()
    force_liquid_default = True


class _Context(RenderContext):
    """What one rendering knows; it stops when its time is over."""

    __slots__ = ("_deadline", "_disabled_tags")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._deadline = time.thread_time() + MAX_SECONDS
        super().__init__(*args, **kwargs)

    @property
    def disabled_tags(self) -> list[str]:
        """None are; but every node asks, so that this is where each looks at the clock."""
        self._check_time()
        return self._disabled_tags

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        self._disabled_tags = tags

    def filter(self, name: str, token: Any) -> Callable[..., object]:
        self._check_time()
        return super().filter(name, token)

    def _check_time(self) -> None:
        if time.thread_time() > self._deadline:
            raise ResourceLimitError("rendering takes too long", token=None)


class _Template(BoundTemplate):
    context_class = _Context


class _Environment(Environment):
    template_class = _Template
    loop_iteration_limit: ClassVar[int | None] = MAX_ITERATIONS
    local_namespace_limit: ClassVar[int | None] = MAX_OUTPUT
    output_stream_limit: ClassVar[int | None] = MAX_OUTPUT

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for name in ("include", "render"):
            del self.tags[name]
        # Markup is made by escaping, never by a tenant's word for it.
        del self.filters["safe"]
        self.filters["strip_html"] = _strip_html
        self.filters["json"] = _json
        self.filters["date"] = _dated(self.filters["date"])
        self.filters["replace"] = _checked_replace(self.filters["replace"])
        self.filters = {name: _bounded(function) for name, function in self.filters.items()}


class _JsonEnvironment(_Environment):
    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for tag in (_JsonOutput, _JsonEcho, _JsonCapture, _JsonCycle):
            self.add_tag(tag)


class _Written(str):
    """A text that is `json` already as it is printed; what filters make of it is a text like any other."""

    __slots__ = ("json",)
    json: str

    def __new__(cls, text: str, json: str) -> _Written:
        written = super().__new__(cls, text)
        written.json = json
        return written


class _JsonNode(OutputNode):
    """Prints a value for the inside of a JSON string, unless it is JSON already."""

    def render_to_output(self, context: RenderContext, buffer: Any) -> int:
        value = self.expression.evaluate(context)
        text = value.json if isinstance(value, _Written) else _inside(to_liquid_string(value, False))
        return int(buffer.write(text))


class _JsonEchoNode(EchoNode):
    render_to_output = _JsonNode.render_to_output


class _JsonCaptureNode(CaptureNode):
    """Keeps what was printed, whose values are escaped, and what it says."""

    def _assign(self, context: RenderContext, buf: Any) -> None:
        printed = buf.getvalue()
        try:
            text = json.loads(f'"{printed}"', strict=False)
        except ValueError:  # no inside of a string: a piece of JSON
            text = printed
        context.assign(self.name, _Written(text, printed))


class _JsonCycleNode(CycleNode):
    def render_to_output(self, context: RenderContext, buffer: Any) -> int:
        printed = context.get_buffer()
        super().render_to_output(context, printed)
        return int(buffer.write(_inside(printed.getvalue())))


class _JsonOutput(Output):
    node_class = _JsonNode


class _JsonEcho(EchoTag):
    node_class = _JsonEchoNode


class _JsonCapture(CaptureTag):
    node_class = _JsonCaptureNode


class _JsonCycle(CycleTag):
    node_class = _JsonCycleNode


def _inside(text: str) -> str:
    """Return a text as it stands between the quotes of JSON."""
    return json.dumps(text)[1:-1]


@lru_cache
def _environment(kind: Kind) -> Environment:
    make = _JsonEnvironment if kind == "json" else _Environment
    return make(undefined=_Missing, autoescape=kind == "html")


def _json(value: object) -> str:
    written = json.dumps(value, default=str)
    return _Written(written, written)


def _strip_html(value: object) -> str:
    return html.unescape(nh3.clean(str(value), tags=set()))


def _dated(date: Callable[..., Any]) -> Callable[..., Any]:
    """Take "now" from our clock."""

    @wraps(date)
    def dated(value: object, *args: Any, **kwargs: Any) -> Any:
        return date(clock.now() if value in ("now", "today") else value, *args, **kwargs)

    return dated


def _checked_replace(replace: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a replacement before it is made: what comes out may be as long as both texts multiplied."""

    @wraps(replace)
    def checked(value: object, sought: object, replacement: object = "", **kwargs: Any) -> Any:
        text, sought_text = str(value), str(sought)
        _bound(len(text) + (text.count(sought_text) * len(str(replacement)) if text else 0))
        return replace(value, sought, replacement, **kwargs)

    return checked


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse what is too big, before and after a filter."""

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        for one in args:
            _bound(_size(one))
        result = function(*args, **kwargs)
        _bound(_size(result))
        return result

    return bounded


def _size(value: object) -> int:
    match value:
        case str():
            return len(value)
        case bool():
            return 1
        case int():
            return value.bit_length() * 100
        case list() | tuple() | range():
            return len(value) * 100
        case _:
            return 1


def _bound(size: int) -> None:
    if size > MAX_VALUE:
        raise ResourceLimitError("a value is too big", token=None)

"""Render Liquid templates: strict about missing values, bounded in time and size, without access to Python."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final, Literal

from liquid import BoundTemplate, Environment, RenderContext, escape
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode, CaptureTag
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.token import Token
from liquid.undefined import UNDEFINED, Undefined

from campaigns.errors import TemplateFault, ValueMissing
from campaigns.messaging.liquid.conditions import make_strict
from campaigns.messaging.liquid.filters import Written, registered
from campaigns.messaging.liquid.region import Region, locale_named
from campaigns.messaging.liquid.values import MAX_VALUE, Missing, is_missing, marked, refuse_missing, text_of
from config import clock

__all__ = ["MAX_VALUE", "Region", "locale_named", "parse", "render"]

Kind = Literal["html", "text", "json"]
"""The output's format: decides how values are escaped. In "json" they are within strings; `| json` writes others."""

MAX_SOURCE: Final = 200_000
"""Characters of a template, at most."""
MAX_OUTPUT: Final = 1_000_000
"""Bytes of the output, at most."""
MAX_SECONDS: Final = 1.0
"""Seconds of processor time, so that a busy machine fails no template."""
MAX_ITERATIONS: Final = 1_000


def parse(source: str, kind: Kind) -> BoundTemplate:
    """Parse a template. Raises TemplateFault."""
    if len(source) > MAX_SOURCE:
        raise TemplateFault(f"A template has at most {MAX_SOURCE} characters")
    _refuse_unclosed(source)
    return _parse(source, kind)


def render(source: str, values: Mapping[str, Any], kind: Kind, region: Region | None = None) -> str:
    """Render a template with values for a reader's region. Null and blank values count as missing.

    Raises TemplateFault, ValueMissing.
    """
    template = parse(source, kind)
    now = clock.now()
    today = now.astimezone((region or Region()).zone).date()
    known = {"now": now, "today": today, **marked(values)}
    context = _Context(template, globals=template.make_globals(known))
    context.region = region
    buffer = context.get_buffer()
    try:
        template.render_with_context(context, buffer)
    except UndefinedError as error:
        raise ValueMissing(_error_text(error)) from error
    except (
        LiquidError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise TemplateFault(_error_text(error)) from error
    return buffer.getvalue()


@lru_cache(maxsize=512)
def _parse(source: str, kind: Kind) -> BoundTemplate:
    try:
        template = _environment(kind).from_string(source)
        make_strict(template.nodes)
    except (LiquidError, ValueError, RecursionError) as error:
        raise TemplateFault(_error_text(error)) from error
    return template


_OPENING: Final = re.compile(r"\{[{%]")
_VERBATIM: Final = re.compile(r"\{%-?\s*(raw|doc)\s*-?%\}")
_ENDS: Final = {name: re.compile(rf"\{{%-?\s*end{name}\s*-?%\}}") for name in ("raw", "doc")}
_VOID: Final = re.compile(r"\s{200}")
_MAX_BRACKETS: Final = 100


def _refuse_unclosed(source: str) -> None:
    """Reject unclosed tags, and tags that are mostly blank or brackets: the lexer takes quadratic time for them."""
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


def _error_text(error: Exception) -> str:
    message = str(getattr(error, "message", "") or error)
    token = getattr(error, "token", None)
    if token is None or not getattr(token, "source", ""):
        return message
    line = token.source.count("\n", 0, token.start_index) + 1
    return f"{message}, line {line}"


class _Context(RenderContext):
    """The values of one rendering, and its deadline."""

    __slots__ = ("_deadline", "_disabled_tags", "region")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._deadline = time.thread_time() + MAX_SECONDS
        self.region: Region | None = None
        super().__init__(*args, **kwargs)

    @property
    def disabled_tags(self) -> list[str]:
        """No tags. Every node asks for this, so the deadline is checked here."""
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

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        """Return the value at a path; null and blank ones are missing."""
        for segment in path:
            if isinstance(segment, Undefined):
                refuse_missing(segment, "index")
        value = super().get(path, token=token, default=_NOWHERE)
        if value is _NOWHERE:
            if default is not UNDEFINED:
                return default
            return Missing(str(path[0]), hint=f"{_spelled(path)} is undefined", token=token)
        if is_missing(value) and not isinstance(value, Undefined):
            return Missing(str(path[0]), hint=f"{_spelled(path)} is undefined", token=token, value=value)
        return value

    def get_item(self, obj: Any, key: Any) -> Any:
        """Return an item by name or number; an item of a missing value is missing."""
        if is_missing(obj) or isinstance(key, bool):  # to Python, true is an index
            raise KeyError(key)
        found = super().get_item(obj, key)
        return list(found) if isinstance(found, tuple) else found


_NOWHERE: Final = object()


def _spelled(path: list[object]) -> str:
    root, *segments = path
    return str(root) + "".join(
        f".{segment}" if isinstance(segment, str) else f"[{segment}]" for segment in segments
    )


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
        for tag in (_Output, _Echo, _Cycle):
            self.add_tag(tag)
        self.filters = registered(self.filters)


class _JsonEnvironment(_Environment):
    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        self.add_tag(_JsonCapture)


def _printed(context: RenderContext, value: object) -> str:
    """Return a value as text, escaped for HTML or for a JSON string, unless it is JSON already."""
    if isinstance(context.env, _JsonEnvironment):
        return value.json if isinstance(value, Written) else _inside(text_of(value))
    return escape(text_of(value)) if context.autoescape else text_of(value)


class _OutputNode(OutputNode):
    def render_to_output(self, context: RenderContext, buffer: Any) -> int:
        return int(buffer.write(_printed(context, self.expression.evaluate(context))))


class _EchoNode(EchoNode):
    render_to_output = _OutputNode.render_to_output


class _CycleNode(CycleNode):
    """A `cycle`: all its values must be there, not only the next one."""

    def render_to_output(self, context: RenderContext, buffer: Any) -> int:
        group = text_of(self.group.evaluate(context)) if self.group else ""
        values = [argument.evaluate(context) for argument in self.args]
        for value in values:
            refuse_missing(value, "cycle")
        index = context.cycle(group or str(values), len(values))
        return int(buffer.write(_printed(context, values[index]))) if index < len(values) else 0


class _JsonCaptureNode(CaptureNode):
    """A `capture` in JSON: its text is escaped already, and is not escaped again."""

    def _assign(self, context: RenderContext, buf: Any) -> None:
        printed = buf.getvalue()
        try:
            text = json.loads(f'"{printed}"', strict=False)
        except ValueError:  # no inside of a string: a piece of JSON
            text = printed
        context.assign(self.name, Written(text, printed))


class _Output(Output):
    node_class = _OutputNode


class _Echo(EchoTag):
    node_class = _EchoNode


class _Cycle(CycleTag):
    node_class = _CycleNode


class _JsonCapture(CaptureTag):
    node_class = _JsonCaptureNode


def _inside(text: str) -> str:
    """Return a text escaped for the inside of a JSON string."""
    return json.dumps(text)[1:-1]


@lru_cache
def _environment(kind: Kind) -> Environment:
    make = _JsonEnvironment if kind == "json" else _Environment
    return make(undefined=Missing, autoescape=kind == "html")

"""Comparisons and `case` in Liquid that refuse a missing value, unless they ask whether it is there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from liquid import RenderContext
from liquid.ast import Node
from liquid.builtin.expressions.logical import (
    ContainsExpression,
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LtExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.expression import Expression
from liquid.undefined import Undefined

from campaigns.messaging.liquid.values import refuse_missing


def make_strict(nodes: Iterable[Node]) -> None:
    """Make every comparison of a template refuse missing values."""
    pending: list[Node | Expression] = list(nodes)
    while pending:
        node = pending.pop()
        if isinstance(node, Expression):
            node.__class__ = _STRICT.get(type(node), type(node))
            pending += node.children()
            continue
        if isinstance(node, CaseNode):
            node.__class__ = _Case
        elif isinstance(node, MultiExpressionBlockNode):
            node.expression = _When(node.expression)  # type: ignore[assignment]  # evaluates to the same
        pending += node.expressions()
        pending += node.children(None)  # type: ignore[arg-type]  # only partial templates, of which there are none, ask


def _compared(left: object, right: object) -> bool | None:
    """Return whether a missing value equals the other side; None if neither is missing.

    `nil`, `blank`, `empty` and "" ask whether it is there. Raises UndefinedError for anything else.
    """
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Undefined):
            if other is None or isinstance(other, Blank | Empty) or (isinstance(other, str) and not other):
                return True
            refuse_missing(value, "comparison")
    return None


class _Equal(EqExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        is_equal = _compared(self.left.evaluate(context), self.right.evaluate(context))
        return super().evaluate(context) if is_equal is None else is_equal


class _Unequal(NeExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        is_equal = _compared(self.left.evaluate(context), self.right.evaluate(context))
        return super().evaluate(context) if is_equal is None else not is_equal


class _Case(CaseNode):
    """A `case`; for a missing value it stops at the `when` that asks whether it is there."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: Any) -> int:
        value = self.expression.evaluate(context)
        if not isinstance(value, Undefined):
            return super().render_to_output(context, buffer)
        for block in self.blocks:
            if isinstance(block, MultiExpressionBlockNode) and any(block.expression.evaluate(context)):
                return block.block.render(context, buffer)
        refuse_missing(value, "case")
        return 0


class _When(Expression):
    """The values of a `when`; for a missing value up to the first that asks whether it is there."""

    __slots__ = ("alternatives", "left")

    def __init__(self, expression: Any) -> None:
        super().__init__(expression.token)
        self.left = expression.left
        self.alternatives = [
            _Equal(alternative.token, expression.left, alternative) for alternative in expression.expressions
        ]

    def evaluate(self, context: RenderContext) -> object:
        left_is_missing = isinstance(self.left.evaluate(context), Undefined)
        answers: list[object] = []
        for alternative in self.alternatives:
            answers.append(alternative.evaluate(context))
            if left_is_missing and answers[-1]:
                break
        return answers

    def children(self) -> list[Expression]:
        return list(self.alternatives)


class _StrictOperands:
    """Operands of a comparison, which must not be missing."""

    __slots__ = ()

    def evaluate(self: Any, context: RenderContext) -> object:
        for operand in (self.left, self.right):
            value = operand.evaluate(context)
            if isinstance(value, Undefined):
                refuse_missing(value, "comparison")
        return super().evaluate(context)  # type: ignore[misc]  # the library's


class _Less(_StrictOperands, LtExpression):
    __slots__ = ()


class _Greater(_StrictOperands, GtExpression):
    __slots__ = ()


class _AtMost(_StrictOperands, LeExpression):
    __slots__ = ()


class _AtLeast(_StrictOperands, GeExpression):
    __slots__ = ()


class _Contains(_StrictOperands, ContainsExpression):
    __slots__ = ()


_STRICT: Final[dict[type[Expression], type[Expression]]] = {
    EqExpression: _Equal,
    NeExpression: _Unequal,
    LtExpression: _Less,
    GtExpression: _Greater,
    LeExpression: _AtMost,
    GeExpression: _AtLeast,
    ContainsExpression: _Contains,
}

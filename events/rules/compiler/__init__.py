"""Rule → SQL: whether it holds for a contact at a moment, and when that can next change without an event.

The SQL hangs on a relation `b` with the columns `contact_id`, `ids` (uuid[]: the contact and those merged into
it), `as_of`, `until` and `score`, which the caller puts before it:

    SELECT b.contact_id, {matches[0]}, {next_at[0]} FROM b {joins} …

`until` is the last moment whose events count: `as_of` itself for one that has passed, `known_until` for now.
`score` (numeric) is what the contact's score was at that moment, null for the stored one. What the statement
is bound to when it is executed is in `bound_values`.

A rule about a triggering event also reads the alias `t`, a row of the stream.
"""

from events.rules.compiler.comparisons import compile_event_rule
from events.rules.compiler.groups import LeafColumns
from events.rules.compiler.parameters import AggregateSpec, Earliest, bound_values
from events.rules.compiler.rules import CompiledRules, aggregates_of_rule, compile_rules

__all__ = [
    "AggregateSpec",
    "CompiledRules",
    "Earliest",
    "LeafColumns",
    "aggregates_of_rule",
    "bound_values",
    "compile_event_rule",
    "compile_rules",
]

"""The definition of a campaign: its JSON, parsed and checked.

`parser.parse_definition` is the front door; `triggers`, `steps` and `workflow` have the parsed types and
their parsers,
`references` what a definition's JSON refers to.
"""

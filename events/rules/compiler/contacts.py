"""Conditions on the contact: its fields, channels, tags and companies."""

from __future__ import annotations

from config.db.sql import Sql, sql
from events.rules.compiler.comparisons import Answer, compare
from events.rules.nodes import ChannelLeaf, CompanyLeaf, TagLeaf

CONTACT = sql("FROM contacts_contact c WHERE c.workspace_id = {workspace_id:uuid} AND c.id = b.contact_id")


def contact_field(name: str) -> Sql:
    """Return a field of `CONTACT` or of what belongs to it, jsonb or null."""
    if name.startswith("attributes."):
        return sql("NULLIF(c.attributes #> {:text[]}, 'null'::jsonb)", name.split(".")[1:])
    if name in _IDENTIFIERS:
        return sql(
            "(SELECT to_jsonb(i.value) FROM contacts_identifier i WHERE i.workspace_id = {workspace_id:uuid}"
            " AND i.contact_id = ANY(b.ids) AND i.kind = {:text} AND i.is_primary"
            " ORDER BY i.contact_id <> b.contact_id, i.id LIMIT 1)",
            _IDENTIFIERS[name],
        )
    return sql(_FIELDS[name])


_IDENTIFIERS = {"email": "email", "phone": "phone", "externalId": "external_id"}
_FIELDS = {
    "firstName": "to_jsonb(NULLIF(c.first_name, ''))",
    "lastName": "to_jsonb(NULLIF(c.last_name, ''))",
    "createdAt": "to_jsonb(c.created_at)",
    "updatedAt": "to_jsonb(c.updated_at)",
    "score": (
        "to_jsonb(COALESCE(b.score, (SELECT s.points FROM contacts_contactscore s"
        " WHERE s.workspace_id = {workspace_id:uuid} AND s.contact_id = b.contact_id), 0))"
    ),
}


def compare_channel(leaf: ChannelLeaf) -> Answer:
    """Of merged contacts, one who opted out speaks for the person."""
    status = sql(
        "(SELECT k.status FROM contacts_consent k WHERE k.workspace_id = {workspace_id:uuid}"
        " AND k.contact_id = ANY(b.ids) AND k.channel = {:text}"
        " ORDER BY k.status = 'opted_out' DESC LIMIT 1)",
        leaf.channel,
    )
    matches = (
        sql("({} IS NULL)", status) if leaf.status is None else sql("({} = {:text})", status, leaf.status)
    )
    return Answer(matches, None, sql("to_jsonb({})", status))


def compare_tag(leaf: TagLeaf) -> Answer:
    """Hold if the contact, or one merged into it, has the tag, or if none has."""
    has = sql(
        "EXISTS (SELECT 1 FROM contacts_contacttag ct JOIN contacts_tag tag"
        " ON tag.workspace_id = {workspace_id:uuid} AND tag.id = ct.tag_id"
        " WHERE ct.workspace_id = {workspace_id:uuid} AND ct.contact_id = ANY(b.ids) AND tag.name = {:text})",
        leaf.name,
    )
    return Answer(has if leaf.is_wanted else sql("NOT {}", has), None, sql("to_jsonb({})", has))


def compare_company(leaf: CompanyLeaf) -> Answer:
    """Hold if one of the companies fulfils it; where there is none, the value is missing."""
    values = sql(
        "FROM contacts_companymembership cm CROSS JOIN LATERAL (SELECT {} AS value FROM contacts_company o"
        " WHERE o.workspace_id = {workspace_id:uuid} AND o.id = cm.company_id) company"
        " WHERE cm.workspace_id = {workspace_id:uuid} AND cm.contact_id = ANY(b.ids)",
        _company_field(leaf.field),
    )
    shown = sql("(SELECT jsonb_agg(company.value ORDER BY company.value) {})", values)
    if leaf.comparison.operator == "not_exists":
        return Answer(sql("NOT EXISTS (SELECT 1 {} AND company.value IS NOT NULL)", values), None, shown)
    condition = compare(sql("company.value"), leaf.comparison).matches
    holds = sql("EXISTS (SELECT 1 {} AND {})", values, condition)
    if leaf.comparison.when_missing:
        holds = sql("({} OR NOT EXISTS (SELECT 1 {}))", holds, values)
    return Answer(holds, None, shown)


def _company_field(name: str) -> Sql:
    if name.startswith("attributes."):
        return sql("NULLIF(o.attributes #> {:text[]}, 'null'::jsonb)", name.split(".")[1:])
    return sql(f"to_jsonb(NULLIF(o.{name or 'name'}, ''))")

"""Extension points: dotted paths by which upper apps plug into lower ones, which may not import them."""

# Lists of `DatabaseGauge` that /metrics shows besides the counters (see config.http.database_metrics).
METRICS = ["events.metrics.STORED", "campaigns.metrics.STORED"]

# `prepare`: run, in the same transaction, once a new database has its tables.
NEW_DATABASE = ["events.stream.partitions.make_partitions"]

# `prepare`: returns the demo workspace's credentials, creating it where there is no workspace.
DEMO_WORKSPACE = "workspaces.demo.find_or_create_demo"

# Answers a POST that repeats an Idempotency-Key with the first response (see workspaces.api.base).
ANSWER_ONCE = "events.api.idempotency.respond_once"

# Effects of an event, applied in this order in one transaction (see events.processing.passes).
EVENT_EFFECTS = [
    "events.effects.maintain_aggregates",
    "scoring.effects.apply_scoring_rules",
    "segments.effects.reevaluate_segments",
    "campaigns.effects.apply_campaigns",
]

# Rules language: functions that make the SQL of a condition, by its type.
RULE_SOURCES = {"segment": "segments.membership_conditions.membership"}

# Rules language: functions that tell which of the rows named by conditions of a type exist.
RULE_TARGETS = {"segment": "segments.membership_conditions.known_segments"}

# Functions that return the names of what uses a segment, which then cannot be deleted.
SEGMENT_USERS = ["campaigns.journeys.usage.campaigns_naming_segment"]

# `PersonalDataSource`s of each app: exported, and erased in this order (see contacts.erasure.erasures).
PERSONAL_DATA = [
    "campaigns.personal_data.PERSONAL_DATA",
    "segments.personal_data.PERSONAL_DATA",
    "scoring.personal_data.PERSONAL_DATA",
    "events.personal_data.PERSONAL_DATA",
    "contacts.imports.personal_data.PERSONAL_DATA",
]

# `ItemFormat`s: parse items of batches, also those that were refused at first (see events.stream.item_formats).
ITEM_FORMATS = [
    "events.api.items.NATIVE_ITEMS",
    "dialects.omnisend.batches.V3_ITEMS",
    "dialects.omnisend.batches.V5_ITEMS",
    "dialects.segment.batches.SEGMENT_ITEMS",
]

# What deletes rows that refer to events, when these are deleted for their age (see events.stream.retention).
EVENT_DEPENDENTS = ["campaigns.retention.delete_decisions", "scoring.retention.delete_points"]

# `ReassignedRows` of each app: moved when contacts are merged (see contacts.merging.reassignment).
REASSIGNED_ROWS = ["scoring.merges.REASSIGNED_ROWS"]

# `Backfill`s, each with the table of its jobs (see config.db.backfill).
BACKFILLS = {
    "contacts.merging.reassignment.MERGES": "contacts_merge",
    "contacts.erasure.erasures.ERASURES": "contacts_erasure",
    "scoring.rescoring.RESCORES": "workspaces_backfilljob",
    "segments.build.BUILDS": "workspaces_backfilljob",
    "segments.build.PUBLICATIONS": "workspaces_backfilljob",
    "campaigns.journeys.date_triggers.DATES": "workspaces_backfilljob",
}

# Admin: refuses an identity field that a workspace cannot have (see workspaces.admin.workspaces).
CHECK_IDENTITY_FIELD = "contacts.profiles.fields.check_identity_field"

# Admin: sections of a contact's page, in this order.
CONTACT_SECTIONS = [
    "events.admin.contact_events_section",
    "scoring.admin.contact_score_section",
    "segments.admin.contact_segments_section",
    "campaigns.admin.contact_campaigns_section",
    "campaigns.admin.contact_messages_section",
]

# Admin: further filters of the list of contacts.
ADMIN_CONTACT_FILTERS = ["segments.admin.MemberFilter"]

# Admin: sections of an event's page, in this order.
EVENT_SECTIONS = ["campaigns.admin.event_trace_section"]

# API: further keys of a contact, each with the scope without which it is left out.
CONTACT_ANSWER_SECTIONS = {
    "events": ("events.api.serializers.recent_events", "events:read"),
    "segments": ("segments.api.contact_sections.active_segments", "segments:read"),
    "campaigns": ("campaigns.api.contact_sections.recent_enrollments", "campaigns:read"),
    "messages": ("campaigns.api.contact_sections.recent_messages", "messages:read"),
}

# API: further filters of the list of contacts, by query parameter, each with the scope that it needs.
CONTACT_FILTERS = {
    "segmentId": ("segments.api.filters.ContactsInSegment", "segments:read"),
    "minScore": ("scoring.api.filters.ContactsWithScore", "scoring:read"),
}

# Imports: the `ImportKind` of each kind of rows (see contacts.imports.uploads).
IMPORT_KINDS = {
    "contacts": "contacts.imports.contacts.ContactImport",
    "events": "events.imports.events.EventImport",
}

# Exports: which contacts are in the segment of an option.
EXPORTED_SEGMENT = "segments.api.filters.contacts_in_segment"

"""The admin's side menu: its groups, and the pages in each."""

from functools import cache, partial
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import lazy
from django.utils.module_loading import import_string

_address = lazy(cache(reverse), str)
"""`reverse_lazy` that looks once: a page compares and shows each link of the menu several times."""


def _group(title: str, *pages: tuple[str, str, str], **options: Any) -> dict[str, Any]:
    """Return Unfold's group of pages given as title, icon and `app_model`."""
    items = [
        {
            "title": page,
            "icon": icon,
            "link": _address(f"admin:{model}_changelist"),
            "permission": partial(_may_open, model),
        }
        for page, icon, model in pages
    ]
    return {"title": title, **options, "items": items}


def _may_open(model: str, request: HttpRequest) -> bool:
    """Tell whether the user may open a model's list; imported late, for it needs the apps to be loaded."""
    return bool(import_string("workspaces.staff.pages.may_open")(model, request))


NAVIGATION: list[dict[str, Any]] = [
    _group(
        "Contacts",
        ("Contacts", "person", "contacts_contact"),
        ("Companies", "apartment", "contacts_company"),
        ("Merges", "merge", "contacts_merge"),
        ("Imports", "upload_file", "contacts_import"),
        ("Refused rows", "rule", "contacts_refusedrow"),
        ("Erasures", "delete_forever", "contacts_erasure"),
        ("Erased identifiers", "person_off", "contacts_erasedidentifier"),
        ("Tags", "sell", "contacts_tag"),
        ("Fields", "data_object", "contacts_field"),
    ),
    _group(
        "Events",
        ("Events", "stream", "events_event"),
        ("Definitions", "schema", "events_eventdefinition"),
        ("Refused events", "block", "events_refusedevent"),
        ("Parked effects", "report", "events_parkedeffect"),
        ("Timers", "schedule", "events_timer"),
        ("Open batches", "pending_actions", "events_eventbatch"),
    ),
    _group(
        "Scoring",
        ("Rules", "rule", "scoring_scoringrule"),
        ("Ledger", "receipt_long", "scoring_scoreentry"),
        ("Rule scores", "functions", "scoring_rulescore"),
    ),
    _group(
        "Segments",
        ("Segments", "group_work", "segments_segment"),
        ("Memberships", "person_check", "segments_membership"),
        ("Membership periods", "history", "segments_membershipperiod"),
    ),
    _group(
        "Campaigns",
        ("Campaigns", "campaign", "campaigns_campaign"),
        ("Enrollments", "route", "campaigns_enrollment"),
        ("Decisions", "fact_check", "campaigns_decision"),
        ("Broadcasts", "cell_tower", "campaigns_broadcast"),
        ("Versions", "history_edu", "campaigns_campaignversion"),
        ("Rehearsals", "theater_comedy", "campaigns_rehearsal"),
    ),
    _group(
        "Messages",
        ("Messages", "mail", "campaigns_message"),
        ("Templates", "draft", "campaigns_template"),
        ("Channels", "settings_input_antenna", "campaigns_channelsettings"),
        ("Suppressions", "block", "campaigns_suppression"),
        ("Forms", "list_alt", "campaigns_form"),
        ("Submissions", "assignment_turned_in", "campaigns_formsubmission"),
        ("Pending consents", "pending_actions", "campaigns_pendingconsent"),
        ("Local inbox", "inbox", "campaigns_sentemail"),
    ),
    _group(
        "Access",
        ("Workspaces", "workspaces", "workspaces_workspace"),
        ("Users", "group", "workspaces_user"),
        ("API keys", "key", "workspaces_apikey"),
        ("OAuth applications", "apps", "workspaces_application"),
        ("Audit log", "manage_history", "admin_logentry"),
        ("Background work", "pending_actions", "workspaces_backfilljob"),
        collapsible=True,
    ),
]

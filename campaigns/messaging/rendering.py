"""Rendering: fill templates and requests for a contact; the values that they can use."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import msgspec
from django.utils.module_loading import import_string

from campaigns.errors import TemplateFault
from campaigns.messaging import liquid
from campaigns.messaging.channels import RESERVED_HEADERS
from campaigns.messaging.channels.webhook import METHOD
from campaigns.messaging.public_links import confirmation_url_of_test, preferences_url, unsubscribe_url
from campaigns.messaging.recipients import Recipient
from campaigns.models import Campaign, ChannelSettings, Template
from campaigns.models.messages import Channel
from config.db.arrays import array
from config.db.statements import fetch_all
from config.http.rendering import iso_millis
from config.values.endpoints import canonical_url
from contacts.models import ContactScore
from events.models import Event
from events.names import FORM_SUBMITTED

MAX_TAGS: Final = 5_000
"""Of an e-mail, for which styles and the text part take time that grows with their square."""
MAX_STYLED: Final = 1_000_000
"""Tags multiplied by the rules of its styles."""
_METHODS: Final = ("POST", "PUT", "PATCH")
KINDS: Final[dict[str, liquid.Kind]] = {
    Channel.EMAIL: "html",
    Channel.TELEGRAM: "html",
    Channel.WEBHOOK: "json",
}
"""What a body is, by channel: that decides how values are escaped."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A call that a step makes; address, body and values of headers are Liquid.

    `body` is JSON as text in Liquid, or JSON whose strings are Liquid.
    """

    url: str
    body: Any = "{}"
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a message says."""

    subject: str = ""
    body: str = ""
    text: str = ""
    # A webhook's only: where it goes, and how.
    address: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    template_id: UUID | None = None


def values_of(
    recipient: Recipient,
    *,
    score: float,
    event: Event | None = None,
    campaign: Campaign | None = None,
    token: str = "",
    is_test: bool = False,
) -> dict[str, Any]:
    """Return what templates can speak of; `token` leads to the person's own pages, or to nobody's in a test."""
    values: dict[str, Any] = {"contact": {**_contact(recipient), "score": score}}
    if event is not None:
        values["event"] = {
            "id": str(event.id),
            "type": event.name,
            "properties": {**_only_in_tests(event), **event.properties} if is_test else event.properties,
            "context": event.context,
            "timestamp": iso_millis(event.occurred_at),
        }
    if campaign is not None:
        values["campaign"] = {"id": str(campaign.id), "name": campaign.name}
    if token:
        values["unsubscribeUrl"] = unsubscribe_url(token)
        values["preferencesUrl"] = preferences_url(token)
    return values


def _only_in_tests(event: Event) -> dict[str, str]:
    """Return what stands for the link of a form's confirmation, which is in no event that is kept."""
    if event.name != FORM_SUBMITTED:
        return {}
    return {"confirmUrl": confirmation_url_of_test(event.workspace_id)}


def scores_of(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, float]:
    """Return the lead scores of contacts; who has none is at zero."""
    rows = fetch_all(_SCORES, [workspace_id, array(contact_ids)])
    return {contact_id: float(points) for contact_id, points in rows}


_SCORES: Final = (
    f"SELECT contact_id, points FROM {ContactScore._meta.db_table}"
    " WHERE workspace_id = %s AND contact_id = ANY (%s::uuid[])"
)


def region_of(recipient: Recipient, settings: ChannelSettings) -> liquid.Region:
    """Return where a person lives; where it does not say, where the channel's settings say."""
    return recipient.region(settings.time_zone, settings.options.get("locale"))


def render_template(
    template: Template, values: Mapping[str, Any], region: liquid.Region | None = None
) -> Rendered:
    """Return what a template says to a contact, to whom money, numbers and dates are written as in a region.

    Raises ValueMissing, TemplateFault.
    """
    body = liquid.render(template.body, values, KINDS[template.channel], region)
    match template.channel:
        case Channel.EMAIL:
            return _email(template, values, body, region)
        case Channel.WEBHOOK:
            return Rendered(body=_checked_json(body), template_id=template.pk)
        case _:
            return Rendered(body=body, template_id=template.pk)


def render_request(
    request: WebhookRequest, values: Mapping[str, Any], region: liquid.Region | None = None
) -> Rendered:
    """Return the call that a step makes for a contact. Raises ValueMissing, TemplateFault."""
    if request.method.upper() not in _METHODS:
        raise TemplateFault(f"method: one of {', '.join(_METHODS)}")
    return Rendered(
        address=checked_url(liquid.render(request.url, values, "text", region).strip()),
        body=_request_body(request.body, values, region),
        headers=_request_headers(request, values, region),
    )


def _contact(recipient: Recipient) -> dict[str, Any]:
    state = recipient.state
    return {
        "id": str(recipient.id),
        "firstName": state.first_name,
        "lastName": state.last_name,
        "email": state.primary("email"),
        "phone": state.primary("phone"),
        "externalId": state.primary("external_id"),
        "attributes": state.attributes,
        "tags": list(state.tags),
    }


def _email(
    template: Template, values: Mapping[str, Any], body: str, region: liquid.Region | None
) -> Rendered:
    _reject_excess(body)
    subject = " ".join(liquid.render(template.subject, values, "text", region).split())
    if template.text:
        text = liquid.render(template.text, values, "text", region)
    else:
        text = _html("text_of", body)
    return Rendered(subject, _html("inlined", body), text, template_id=template.pk)


def _html(name: str, html: str) -> str:
    """Call a function of campaigns.messaging.email_html, whose large libraries are loaded with the first e-mail."""
    return str(import_string(f"campaigns.messaging.email_html.{name}")(html))


def _reject_excess(html: str) -> None:
    tags = html.count("<") - html.count("</")
    if tags > MAX_TAGS or tags * html.count("{") > MAX_STYLED:
        raise TemplateFault(
            f"body: more than {MAX_TAGS} tags, or more than {MAX_STYLED} tags times rules of style"
        )


def _checked_json(text: str) -> str:
    try:
        return msgspec.json.encode(msgspec.json.decode(text)).decode()
    except msgspec.DecodeError as error:
        raise TemplateFault(f"body: not JSON: {error}") from error


def _request_body(body: Any, values: Mapping[str, Any], region: liquid.Region | None) -> str:
    if isinstance(body, str):
        return _checked_json(liquid.render(body, values, "json", region))
    return json.dumps(_filled(body, values, region), ensure_ascii=False)


def _filled(body: Any, values: Mapping[str, Any], region: liquid.Region | None) -> Any:
    match body:
        case str():
            return liquid.render(body, values, "text", region)
        case Mapping():
            return {key: _filled(item, values, region) for key, item in body.items()}
        case list():
            return [_filled(item, values, region) for item in body]
        case _:
            return body


def _request_headers(
    request: WebhookRequest, values: Mapping[str, Any], region: liquid.Region | None
) -> dict[str, str]:
    headers = {METHOD: request.method.upper()}
    for name, source in request.headers.items():
        value = liquid.render(source, values, "text", region).strip()
        if not name.isascii() or name.lower().startswith(RESERVED_HEADERS) or not value.isprintable():
            raise TemplateFault(f"headers: {name} cannot be set")
        headers[name] = value
    return headers


def checked_url(url: str) -> str:
    """Return the one form of an address, if it can be called as far as its spelling tells. Raises TemplateFault."""
    found = canonical_url(url)
    if found is None:
        raise TemplateFault("url: not an address that can be called")
    return found

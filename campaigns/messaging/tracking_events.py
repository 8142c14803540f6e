"""Record opens and clicks as events; those of machines are marked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Coalesce

from campaigns.messaging.delivery import MessageEvent, publish_message_events
from campaigns.models import Message
from events.id_bounds import first_id_of_events
from events.models import Event
from events.names import MESSAGE_CLICK, MESSAGE_OPEN

# Names by which proxies of mailboxes, scanners of links, makers of previews and programs give themselves away. After
# the lists that senders keep: machine opens of Braze, Customer.io and SparkPost ("is_prefetched"), the proxies that
# Google (GoogleImageProxy) and Yahoo (YahooMailProxy) name in their help, and monperrus/crawler-user-agents.
_MACHINES: Final = re.compile(
    # Images fetched for a mailbox. Google's, ahead of the reader, says that it is a browser of 2015.
    r"imageproxy|yahoomailproxy|mailproxy|imgproxy|image-?resizer|edge/12\.246\b|proxy\b"
    # Links followed before they are let through.
    r"|safelinks|barracuda|mimecast|proofpoint|symantec|messagelabs|cloudmark|fireeye|forcepoint|websense|sophos"
    r"|trend ?micro|zscaler|forti(?:guard|mail|gate)|ironport|trustwave|avanan|checkpoint|hornetsecurity|vadesecure"
    r"|f-secure|kaspersky|bitdefender|mcafee|norton safe|google-safety|virustotal"
    r"|urlscan|linkscan|scanner|\bscan(?:ning)?\b"
    # Previews.
    r"|preview|facebookexternalhit|facebookcatalog|embedly|iframely|vkshare|^whatsapp/|slack-img|google-read-aloud"
    # Those that look through the net.
    r"|crawl|spider|\bslurp\b|mediapartners|googleother|apis-google|(?:bot|fetcher|engine)-google|google-inspection"
    r"|(?<!cu)bot[/_-]?\d|^[\w.-]*(?<!cu)bot\b|(?<!cu)bot\b.*@|compatible; ?[\w.-]*(?<!cu)bot\b|(?<!cu)bot$"
    r"|updaterobot|(?:existence|protocol) discovery|httrack|validator|palo ?alto|censys|netcraft|zgrab|masscan|nmap "
    # Only programs say where one may read about them.
    r"|https?://|\bwww\.|@[a-z][\w-]*\."
    # Libraries and browsers without a screen.
    r"|curl|wget|python|aiohttp|java/|okhttp|go-http|http-?client|http-java|winhttp|fasthttp|libwww|\blwp\b|\bperl\b"
    r"|\bruby\b|\bphp/|guzzle|axios/|node-fetch|undici|faraday|typhoeus|reqwest|reactornetty|^(?:deno|bun|got|k6)\b"
    r"|scrapy|httpie|postman|insomnia/|powershell|apachebench|headless|phantomjs|puppeteer|playwright|selenium"
    # Watches over sites.
    r"|lighthouse|pingdom|statuscake|monitor|uptime|checker|fetcher|favicon|webhook|health-?check|kube-probe|site24x7"
    r"|datadog",
    re.IGNORECASE,
)
# By Apple's Mail Privacy Protection, which fetches every image whether or not anybody looks.
_BARE: Final = frozenset({"", "Mozilla/5.0"})
_TOO_QUICK: Final = timedelta(seconds=2)
_AT_ONCE: Final = timedelta(seconds=1)
"""Two links followed in less are a machine's."""
_BEFORE_OPEN: Final = (Message.Status.SENT, Message.Status.DELIVERED, Message.Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a tracking pixel or a tracked link."""

    at: datetime
    user_agent: str = ""
    # A browser that loads ahead says so.
    is_prefetch: bool = False
    # Where a click leads; "": the image that tells of an open.
    target: str = ""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a visit is recorded as, and what it changes of the message."""

    event_name: str
    status: Message.Status
    before: tuple[Message.Status, ...]
    columns: tuple[str, ...]


_OPEN: Final = _Kind(MESSAGE_OPEN, Message.Status.OPENED, _BEFORE_OPEN, ("opened_at",))
# Who clicks has opened it, images or not.
_CLICK: Final = _Kind(
    MESSAGE_CLICK,
    Message.Status.CLICKED,
    (*_BEFORE_OPEN, Message.Status.OPENED),
    ("clicked_at", "opened_at"),
)


@transaction.atomic
def record_visit(message_id: UUID, visit: Visit) -> None:
    """Record an open or a click, and whether a machine did it."""
    message = _message(message_id)
    if message is None or message.is_test:
        return
    kind = _CLICK if visit.target else _OPEN
    is_machine = _is_machine(message, visit)
    if not is_machine:
        rows = Message.objects.in_workspace(message.workspace_id).filter(pk=message.pk)
        rows.update(**{column: Coalesce(column, visit.at) for column in kind.columns})
        rows.filter(status__in=kind.before).update(status=kind.status)
    url = {"url": visit.target} if visit.target else {}
    publish_message_events(
        message.workspace_id,
        [MessageEvent(kind.event_name, message, visit.at, {**url, "isMachine": is_machine})],
    )


def _message(message_id: UUID) -> Message | None:
    """Return the message, locked: a scanner follows all its links at once."""
    # The signed id is all that the link has.
    workspace_id = Message.objects.filter(pk=message_id).values_list("workspace_id", flat=True).first()
    if workspace_id is None:
        return None
    return Message.objects.in_workspace(workspace_id).select_for_update().filter(pk=message_id).first()


def _is_machine(message: Message, visit: Visit) -> bool:
    is_quick = message.sent_at is not None and visit.at - message.sent_at < _TOO_QUICK
    return (
        visit.is_prefetch
        or is_quick
        or visit.user_agent.strip() in _BARE
        or _MACHINES.search(visit.user_agent) is not None
        or (visit.target != "" and _follows_all(message, visit))
    )


def _follows_all(message: Message, visit: Visit) -> bool:
    """Whether another link of the message was followed a moment ago."""
    clicks = Event.objects.in_workspace(message.workspace_id).filter(
        contact_id=message.contact_id,
        name=_CLICK.event_name,
        id__gte=first_id_of_events(visit.at - _AT_ONCE),
        occurred_at__gte=visit.at - _AT_ONCE,
        properties__messageId=str(message.pk),
    )
    return clicks.exclude(properties__url=visit.target).exists()

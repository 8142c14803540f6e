"""Settings of channels: senders, quiet hours, frequency caps, opt-in, secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from campaigns.errors import ChannelInUse, InvalidChannelSettings, TemplateFault
from campaigns.messaging.channels.webhook import new_secret
from campaigns.messaging.liquid import locale_named
from campaigns.messaging.recipients import zone_named
from campaigns.messaging.release import release, wake_held_messages
from campaigns.messaging.rendering import checked_url
from campaigns.messaging.senders import sender_error
from campaigns.models import Campaign, ChannelSettings
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from events.processing.passes import bump_rules_version

# It stands in an address.
_TOKEN: Final = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,200}", re.ASCII)
MOST_HOURS: Final = 24 * 31
MOST_ATTEMPTS: Final = 50


def channels_of(workspace_id: UUID) -> list[ChannelSettings]:
    """Return the settings of every channel; unsaved defaults where there are none."""
    saved = {row.channel: row for row in ChannelSettings.objects.in_workspace(workspace_id)}
    return [
        saved.get(channel) or ChannelSettings(workspace_id=workspace_id, channel=channel)
        for channel in Channel.values
    ]


@transaction.atomic
def save_channel(workspace_id: UUID, channel: str, **values: Any) -> ChannelSettings:
    """Save settings of a channel, and release what they no longer hold back. Raises InvalidChannelSettings."""
    settings = _held(workspace_id, channel)
    limits, needed_opt_in = _limits(settings), settings.requires_opt_in
    for name, value in values.items():
        setattr(settings, name, value)
    check_channel(settings)
    settings.save()
    if _limits(settings) != limits:
        wake_held_messages(workspace_id, channel)
    if needed_opt_in and not settings.requires_opt_in:
        release(workspace_id, channel, Reason.NO_CONSENT)
    return settings


def _limits(settings: ChannelSettings) -> tuple[object, ...]:
    """Return the settings that defer messages."""
    quiet = settings.quiet_from, settings.quiet_until, settings.time_zone
    return settings.cap_count, settings.cap_hours, *quiet


@transaction.atomic
def delete_channel(settings: ChannelSettings) -> None:
    """Delete a channel's settings, which has the usual ones then. Raises ChannelInUse where campaigns send by it."""
    bump_rules_version(settings.workspace_id)
    steps: list[dict[str, Any]] = [{"data": {"channel": settings.channel}}]
    if settings.channel == Channel.WEBHOOK:
        steps = [{"type": "webhook"}]
    sends = Q(draft__workflow__nodes__contains=steps) | Q(
        versions__retired_at=None, versions__definition__workflow__nodes__contains=steps
    )
    campaigns = Campaign.objects.in_workspace(settings.workspace_id).filter(sends)
    names = campaigns.exclude(status=Campaign.Status.ARCHIVED).values_list("name", flat=True)
    if users := sorted(set(names)):
        raise ChannelInUse(users)
    settings.delete()


@transaction.atomic
def renew_signing_secret(workspace_id: UUID) -> str:
    """Return a new secret that webhooks are signed with; beside it the last one signs until the next renewal."""
    settings = _held(workspace_id, Channel.WEBHOOK)
    secret = new_secret()
    settings.secret = " ".join([secret, *settings.secret.split()[:1]])
    settings.save(update_fields=["secret"])
    return secret


def check_channel(settings: ChannelSettings) -> None:
    """Validate channel settings. Raises InvalidChannelSettings, which names the field."""
    if problem := sender_error(settings.channel, settings.sender):
        raise InvalidChannelSettings("sender", problem)
    if settings.channel == Channel.TELEGRAM and settings.secret and not _TOKEN.fullmatch(settings.secret):
        raise InvalidChannelSettings("secret", "Must be the token of a bot, such as 123:AbC.")
    if not isinstance(settings.options, dict):
        raise InvalidChannelSettings("options", "Must be an object.")
    for name, value in settings.options.items():
        if name not in _OPTIONS[settings.channel]:
            raise InvalidChannelSettings(f"options.{name}", "This key is not known.")
        if _OPTIONS[settings.channel][name] is bool and not isinstance(value, bool):
            raise InvalidChannelSettings(f"options.{name}", "Must be true or false.")
    if problem := sender_error(Channel.EMAIL, settings.options.get("replyTo")):
        raise InvalidChannelSettings("options.replyTo", problem)
    locale = settings.options.get("locale", "")
    if not isinstance(locale, str) or (locale and locale_named(locale) is None):
        raise InvalidChannelSettings("options.locale", "Must be the name of one, such as en or de-AT.")
    if settings.channel == Channel.WEBHOOK and not _can_be_called(settings.options.get("url", "")):
        raise InvalidChannelSettings("options.url", "Must be an address of http or https.")
    if (settings.quiet_from is None) != (settings.quiet_until is None):
        raise InvalidChannelSettings("quiet_from", "Quiet hours have a beginning and an end.")
    if settings.quiet_from is not None and settings.quiet_from == settings.quiet_until:
        raise InvalidChannelSettings("quiet_from", "Quiet hours end at another time than they begin.")
    if settings.cap_count is not None and settings.cap_count < 1:
        raise InvalidChannelSettings("cap_count", "Must be at least 1.")
    if not 1 <= settings.cap_hours <= MOST_HOURS:
        raise InvalidChannelSettings("cap_hours", f"Must be 1 to {MOST_HOURS}.")
    if not 1 <= settings.max_attempts <= MOST_ATTEMPTS:
        raise InvalidChannelSettings("max_attempts", f"Must be 1 to {MOST_ATTEMPTS}.")
    if zone_named(settings.time_zone) is None:
        raise InvalidChannelSettings("time_zone", "Must be the name of a time zone, such as Europe/Paris.")


_OPTIONS: Final[Mapping[str, Mapping[str, type]]] = {
    Channel.EMAIL: {"trackOpens": bool, "trackClicks": bool, "replyTo": str, "locale": str},
    Channel.WEBHOOK: {"url": str, "locale": str},
    Channel.TELEGRAM: {"locale": str},
}


def _held(workspace_id: UUID, channel: str) -> ChannelSettings:
    """Return the settings row, created if missing, locked for update."""
    ChannelSettings.objects.get_or_create(workspace_id=workspace_id, channel=channel)
    return ChannelSettings.objects.select_for_update().in_workspace(workspace_id).get(channel=channel)


def _can_be_called(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        return url == "" or bool(checked_url(url))
    except TemplateFault:
        return False

"""Webhooks of e-mail providers, by anymail; a malformed call is a 400, never a 500."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import requests
from anymail import urls as anymail_urls
from anymail.exceptions import AnymailConfigurationError, AnymailError
from anymail.webhooks.amazon_ses import AmazonSESTrackingWebhookView
from anymail.webhooks.base import AnymailBaseWebhookView
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import URLPattern, path

from campaigns.messaging.channels import http

logger = logging.getLogger(__name__)

# What reading a body of another shape than the provider documents may raise. anymail reads without looking.
_MALFORMED: Final = (
    *(
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
    ),
    AnymailError,
)
_ARN: Final = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]{1,40}):\d{1,20}:[A-Za-z0-9_.-]{1,256}", re.ASCII)


def provider_routes() -> list[URLPattern]:
    """Return a route for each provider that anymail knows, of its news about messages that we sent."""
    return [
        path(str(route.pattern), _with_secret(_checked(route.callback)), name=route.name)
        for route in anymail_urls.urlpatterns
        if "tracking" in str(route.name) or "mandrill" in str(route.name)
    ]


class _Malformed(SuspiciousOperation):
    """What was sent is not what the provider sends."""


class _Checked:
    """Tells a call that cannot be read from a fault of ours: nobody need send it again."""

    def run_validators(self, request: HttpRequest) -> None:
        _read(super().run_validators, request)  # type: ignore[misc]  # anymail's

    def parse_events(self, request: HttpRequest) -> Any:
        events = _read(super().parse_events, request)  # type: ignore[misc]  # anymail's
        return events or []


def _read(read: Callable[[HttpRequest], Any], request: HttpRequest) -> Any:
    try:
        return read(request)
    except SuspiciousOperation:
        raise
    except _MALFORMED as error:
        raise _Malformed(f"{type(error).__name__}: {error}") from error


class _NoAnswer(Exception):  # not an error of ours
    """Amazon did not confirm the subscription."""


class _AmazonView(AmazonSESTrackingWebhookView):  # type: ignore[misc]  # anymail has no types
    """News of Amazon SES, by way of its SNS; anymail's own needs boto3, for one call that any client can make."""

    def __init__(self, **kwargs: Any) -> None:
        self.auto_confirm_enabled = True
        AnymailBaseWebhookView.__init__(self, **kwargs)

    def auto_confirm_sns_subscription(self, sns_message: Mapping[str, Any]) -> None:
        """Confirm a subscription of whoever knows our secret. Raises _NoAnswer, ValueError."""
        arn, token = sns_message["TopicArn"], sns_message["Token"]
        found = _ARN.fullmatch(arn)
        if found is None or not isinstance(token, str):
            raise ValueError(f"no topic: {arn!r}")
        region = found.group(1)
        tail = ".cn" if region.startswith("cn-") else ""
        asked = {"Action": "ConfirmSubscription", "TopicArn": arn, "Token": token, "Version": "2010-03-31"}
        url = f"https://sns.{region}.amazonaws.com{tail}/?{urlencode(asked)}"
        try:
            answer = http.call("GET", url, b"", {})
        except (requests.RequestException, http.ForbiddenAddress) as error:
            raise _NoAnswer(str(error)) from error
        if answer.status != 200:
            raise _NoAnswer(f"{answer.status} {answer.text[:500]}")


def _checked(callback: Any) -> Any:
    view = _AmazonView if callback.view_class is AmazonSESTrackingWebhookView else callback.view_class
    checked: Any = type(view.__name__, (_Checked, view), {})
    return checked.as_view(**callback.view_initkwargs)


def _with_secret(view: Any) -> Any:
    """Let nobody in while there is no secret: anymail itself would only warn."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.ANYMAIL.get("WEBHOOK_SECRET"):
            raise Http404
        try:
            response: HttpResponseBase = view(request, *args, **kwargs)
        except _Malformed as error:
            return JsonResponse({"error": f"This is no news of the provider's: {error}"[:500]}, status=400)
        except AnymailConfigurationError as error:
            # A key of the provider's is not set, without which nobody can tell that it is the provider.
            logger.warning("The webhook of a provider of e-mail cannot be used: %s", error)
            return JsonResponse({"error": "This provider is not configured"}, status=400)
        except _NoAnswer as error:
            logger.warning("A subscription to the news of Amazon SES was not confirmed: %s", error)
            return HttpResponse(status=503)
        return response

    guarded.csrf_exempt = True  # type: ignore[attr-defined]  # as the view itself
    return guarded

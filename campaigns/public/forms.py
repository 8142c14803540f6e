"""Public forms: submissions from any page (by a script, or by the browser alone) and the script that
embeds a form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views import View
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.errors import FormNotFound, OriginNotAllowed
from campaigns.forms.fields import TRAP, fields_of
from campaigns.forms.forms import public_form
from campaigns.forms.submissions import submit_form
from campaigns.messaging.public_links import public_url
from campaigns.models import Form
from config import clock
from config.http.client_addresses import client_address
from config.http.json import StrictJSONParser, read_whole
from events.api.idempotency import respond_once
from events.stream.idempotency import is_key
from workspaces.api.native import NativePublicViewSet, object_body
from workspaces.api.serializers import ErrorSerializer
from workspaces.throttles import hit, throttled

RATE: Final = "10/minute"
"""Submissions of one form from one address."""
_MAX_PARTS: Final = 200
_MAX_PAGE_URL: Final = 2048


class FormParser(BaseParser):
    """Parse a body that a browser sends without any script."""

    media_type = "application/x-www-form-urlencoded"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """Return the fields, each by its last value. Raises ParseError."""
        try:
            pairs = parse_qsl(
                read_whole(stream).decode(),
                keep_blank_values=True,
                max_num_fields=_MAX_PARTS,
                errors="strict",
            )
        except ValueError as error:
            raise ParseError("The body is no form.") from error
        return dict(pairs)


class SubmittedSerializer(serializers.Serializer[Any]):
    """The answer to a visitor; also where nothing was kept."""

    success = serializers.BooleanField()
    submissionId = serializers.UUIDField()


class FormSubmissionViewSet(NativePublicViewSet):
    """Submissions of a form, from anybody; `form_id` is the published id of the form."""

    lookup_url_kwarg = "form_id"
    serializer_class = SubmittedSerializer
    parser_classes = (StrictJSONParser, FormParser)
    # Answered once under a key, too; see workspaces.api.base.
    repeats_harmlessly = ""
    allowed_origin = ""
    """Which pages may read the answer, as CORS has it: set once the form is found."""

    @extend_schema(
        operation_id="submitForm",
        tags=["forms"],
        request={"application/json": {"type": "object"}},
        responses={
            201: SubmittedSerializer,
            **{status: OpenApiResponse(ErrorSerializer) for status in (400, 403, 404, 413, 415, 429)},
        },
    )
    @action(detail=True, methods=["post"])
    def submit(self, request: Request, form_id: str) -> Any:
        """Take a visitor's answers: the contact is found or made, and `form.submitted` recorded."""
        form = self.get_form(form_id)
        attempt = hit(f"form:{form.pk}:{client_address(request._request)}", RATE, "")
        if attempt is not None and attempt.wait_seconds:
            raise throttled(attempt.wait_seconds)
        act = partial(_submit, request, form)
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is not None:
            answer = respond_once(request, form.workspace_id, _form_idempotency_key(form, key), act)
        else:
            answer = act()
        return (
            _thank_you_page(request._request, form)
            if request.content_type == FormParser.media_type
            else answer
        )

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Answer a browser's CORS preflight."""
        self.get_form(kwargs["form_id"])
        return Response(status=204)

    def get_form(self, form_id: str) -> Form:
        """Return the form, if the page that asks may use it. Raises FormNotFound, OriginNotAllowed."""
        form = public_form(form_id)
        origin = self.request.META.get("HTTP_ORIGIN", "")
        if form.allowed_origins and origin.lower() not in form.allowed_origins:
            raise OriginNotAllowed
        self.allowed_origin = origin if form.allowed_origins else "*"
        return form

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the CORS headers, where the form is for the page."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.allowed_origin:
            response["Access-Control-Allow-Origin"] = self.allowed_origin
            response["Vary"] = "Origin"
            response["Access-Control-Allow-Methods"] = "POST, OPTIONS"
            wanted = request.META.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "").lower()
            more = ", Idempotency-Key" if "idempotency-key" in wanted else ""
            response["Access-Control-Allow-Headers"] = f"Content-Type{more}"
            response["Access-Control-Max-Age"] = "3600"
        return response


class EmbedView(View):
    """The script that puts a form onto a page; no API endpoint, hence a plain view."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, form_id: str) -> HttpResponse:
        """Return the script; of a form that is not there, one that does nothing."""
        try:
            form = public_form(form_id)
        except FormNotFound:
            return HttpResponse("/* There is no such form. */", status=404, content_type=_SCRIPT)
        text = render(request, "campaigns/form.js", {"form": _script_json(form)}, content_type=_SCRIPT)
        text["Cache-Control"] = "public, max-age=300"
        return text


_SCRIPT: Final = "text/javascript; charset=utf-8"


def snippet(form: Form) -> str:
    """Return the HTML that puts a form where it is pasted."""
    return f'<script async src="{public_url(f"/api/forms/{form.pk}/embed.js")}"></script>'


def _submit(request: Request, form: Form) -> Response:
    page_url = request.META.get("HTTP_REFERER", "")[:_MAX_PAGE_URL]
    submitted = submit_form(form, object_body(request), page_url=page_url, now=clock.now())
    return Response(SubmittedSerializer({"success": True, "submissionId": submitted.id}).data, status=201)


def _form_idempotency_key(form: Form, key: str) -> str:
    """Return a visitor's key as one that no client of the workspace can have, nor visitors of another form."""
    return f"form:{form.pk.hex}:{sha256(key.encode()).hexdigest()}" if is_key(key) else ""


def _thank_you_page(request: HttpRequest, form: Form) -> HttpResponse:
    if form.redirect_url:
        redirect = HttpResponseRedirect(form.redirect_url)
        redirect.status_code = 303
        return redirect
    return render(request, "campaigns/page.html", {"title": "Thank you"}, status=201)


def _script_json(form: Form) -> str:
    """Return what the script needs to know of the form, as JSON that no text in it can break out of."""
    facts = {
        "id": str(form.pk),
        "submitUrl": public_url(f"/api/forms/{form.pk}/submit"),
        "redirectUrl": form.redirect_url,
        "trap": TRAP,
        "fields": [
            {
                "name": field.name,
                "label": field.label,
                "type": field.type,
                "required": field.required,
                "options": field.options,
            }
            for field in fields_of(form)
        ],
    }
    return json.dumps(facts).replace("<", "\\u003c")

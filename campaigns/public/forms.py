"""Forms as other people's pages use them: sent by a script of ours, by one of theirs, or by the browser alone."""

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
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.errors import FormNotFound, OriginNotAllowed
from campaigns.forms.forms import TRAP, public_form, questions_of, submit_form
from campaigns.messaging.public_links import public_url
from campaigns.models import Form
from config import clock
from config.http.client_addresses import client_address
from config.http.json import StrictJSONParser, read_whole
from events.api.idempotency import respond_once
from events.stream.idempotency import is_key
from workspaces.api.native import NativePublicView, object_body
from workspaces.api.serializers import ErrorSerializer
from workspaces.throttles import hit, throttled

RATE: Final = "10/minute"
"""Submissions of one form from one address."""
_MAX_PARTS: Final = 200
_MAX_PAGE_URL: Final = 2048


class FormParser(BaseParser):
    """Take what a browser sends without any script."""

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
    """What a visitor is told."""

    success = serializers.BooleanField()
    submissionId = serializers.UUIDField()


class SubmitFormView(NativePublicView):
    """Answers to a form, from anybody."""

    serializer_class = SubmittedSerializer
    parser_classes = (StrictJSONParser, FormParser)
    # Answered once under a key, too; see workspaces.api.base.
    repeats_harmlessly = ""

    @extend_schema(
        operation_id="submitForm",
        tags=["forms"],
        auth=[],
        request={"application/json": {"type": "object"}},
        responses={
            201: SubmittedSerializer,
            **{status: OpenApiResponse(ErrorSerializer) for status in (400, 403, 404, 413, 415, 429)},
        },
    )
    def post(self, request: Request, form_id: str) -> Any:
        """Take a visitor's answers: the contact is found or made, and `form.submitted` recorded."""
        form = _form(request, form_id)
        attempt = hit(f"form:{form.pk}:{client_address(request._request)}", RATE, "")
        if attempt is not None and attempt.wait_seconds:
            raise throttled(attempt.wait_seconds)
        act = partial(_submit, request, form)
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        answer = act() if key is None else respond_once(request, form.workspace_id, _own_key(form, key), act)
        if request.content_type == FormParser.media_type:
            return _thanks(request._request, form)
        return answer

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Tell a browser that the page may send the form."""
        _form(request, kwargs["form_id"])
        return Response(status=204)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Tell the browser that the page may read the answer, where the form is for the page."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if allowed := getattr(request._request, "form_origin", ""):
            response["Access-Control-Allow-Origin"] = allowed
            response["Vary"] = "Origin"
            response["Access-Control-Allow-Methods"] = "POST, OPTIONS"
            wanted = request.META.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "").lower()
            more = ", Idempotency-Key" if "idempotency-key" in wanted else ""
            response["Access-Control-Allow-Headers"] = f"Content-Type{more}"
            response["Access-Control-Max-Age"] = "3600"
        return response


class EmbedView(View):
    """The script that puts a form onto a page."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, form_id: str) -> HttpResponse:
        """Return the script; of a form that is not there, one that does nothing."""
        try:
            form = public_form(form_id)
        except FormNotFound:
            return HttpResponse("/* There is no such form. */", status=404, content_type=_SCRIPT)
        text = render(request, "campaigns/form.js", {"form": _for_script(form)}, content_type=_SCRIPT)
        text["Cache-Control"] = "public, max-age=300"
        return text


_SCRIPT: Final = "text/javascript; charset=utf-8"


def snippet(form: Form) -> str:
    """Return the HTML that puts a form where it is pasted."""
    return f'<script async src="{public_url(f"/api/forms/{form.pk}/embed.js")}"></script>'


def _submit(request: Request, form: Form) -> Response:
    page_url = request.META.get("HTTP_REFERER", "")[:_MAX_PAGE_URL]
    submitted = submit_form(form, object_body(request), page_url=page_url, now=clock.now())
    return Response({"success": True, "submissionId": str(submitted.id)}, status=201)


def _own_key(form: Form, key: str) -> str:
    """Return a visitor's key as one that no client of the workspace can have, nor visitors of another form."""
    return f"form:{form.pk.hex}:{sha256(key.encode()).hexdigest()}" if is_key(key) else ""


def _form(request: Request, form_id: str) -> Form:
    """Return the form if it is for the page that sends it. Raises FormNotFound, OriginNotAllowed."""
    form = public_form(form_id)
    origin = request.META.get("HTTP_ORIGIN", "")
    if not form.allowed_origins:
        request._request.form_origin = "*"  # type: ignore[attr-defined]  # ours, until the answer
    elif origin.lower() in form.allowed_origins:
        request._request.form_origin = origin  # type: ignore[attr-defined]  # as above
    else:
        raise OriginNotAllowed
    return form


def _thanks(request: HttpRequest, form: Form) -> HttpResponse:
    if form.redirect_url:
        redirect = HttpResponseRedirect(form.redirect_url)
        redirect.status_code = 303
        return redirect
    return render(request, "campaigns/page.html", {"title": "Thank you"}, status=201)


def _for_script(form: Form) -> str:
    """Return what the script needs to know, as JSON that no text in it can break out of."""
    known = {
        "id": str(form.pk),
        "submitUrl": public_url(f"/api/forms/{form.pk}/submit"),
        "redirectUrl": form.redirect_url,
        "trap": TRAP,
        "fields": [
            {
                "name": one.name,
                "label": one.label,
                "type": one.type,
                "required": one.required,
                "options": one.options,
            }
            for one in questions_of(form)
        ],
    }
    return json.dumps(known).replace("<", "\\u003c")

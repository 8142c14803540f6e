"""Endpoints of forms and their submissions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.filters.forms import FormFilterSet
from campaigns.api.serializers.forms import (
    FormBodySerializer,
    FormChangesSerializer,
    FormSerializer,
    SubmissionSerializer,
)
from campaigns.errors import InvalidForm
from campaigns.forms.forms import FormValues, create_form, delete_form, find_form, update_form
from campaigns.models import Form, FormSubmission
from config.ids import parse_uuid
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import read_body
from workspaces.scopes import Need

_CONFIRMS = "the body has `doubleOptIn`, `onKnown: CONFIRM` or a `confirmationTemplateId`: e-mails are sent"
_CONFIRMING = (Need("POST", "messages:write", _CONFIRMS), Need("PATCH", "messages:write", _CONFIRMS))


class FormViewSet(NativeViewSet):
    """The forms of a workspace."""

    tag = "forms"
    queryset = Form.objects.none()
    serializer_class = FormSerializer
    filterset_class = FormFilterSet
    lookup_url_kwarg = "form_id"
    # What visitors send makes contacts and changes them.
    scopes = {
        "GET": "campaigns:read",
        "POST": "campaigns:write contacts:write",
        "PATCH": "campaigns:write contacts:write",
        "DELETE": "campaigns:write",
    }
    needs = _CONFIRMING

    def get_queryset(self) -> QuerySet[Form]:
        """Return the workspace's forms, oldest first."""
        return Form.objects.in_workspace(self.workspace.id).order_by("id")

    @extend_schema(operation_id="listForms")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the forms, each with the number of its submissions."""
        return Response(FormSerializer(self.filter_queryset(self.get_queryset()), many=True).data)

    @extend_schema(operation_id="createForm", request=FormBodySerializer)
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a form; pages post answers to its `submitUrl`."""
        values = read_body(FormBodySerializer, request)
        if _asks_by_email(values):
            self.need(_CONFIRMING[0])
        with _form_errors_as_fields():
            form = create_form(self.workspace.id, FormValues(**values))
        return Response(FormSerializer(form).data, status=201)

    @extend_schema(operation_id="getForm")
    def retrieve(self, request: Request, workspace_id: str, form_id: str) -> Response:
        """Return a form."""
        return Response(FormSerializer(find_form(self.workspace.id, parse_uuid(form_id))).data)

    @extend_schema(operation_id="updateForm", request=FormChangesSerializer)
    def partial_update(self, request: Request, workspace_id: str, form_id: str) -> Response:
        """Change what the body names."""
        form = find_form(self.workspace.id, parse_uuid(form_id))
        values = read_body(FormChangesSerializer, request)
        if _asks_by_email(values):
            self.need(_CONFIRMING[1])
        with _form_errors_as_fields():
            form = update_form(self.workspace.id, form, FormValues(**values))
        return Response(FormSerializer(form).data)

    @extend_schema(operation_id="deleteForm")
    def destroy(self, request: Request, workspace_id: str, form_id: str) -> Response:
        """Delete a form and its submissions; their events stay."""
        delete_form(self.workspace.id, find_form(self.workspace.id, parse_uuid(form_id)))
        return Response(status=204)


class SubmissionViewSet(NativeViewSet):
    """The submissions of a form."""

    tag = "forms"
    queryset = FormSubmission.objects.none()
    serializer_class = SubmissionSerializer
    pagination_class = KeysetPagination
    # Each is an event of a contact.
    scopes = {"GET": "campaigns:read contacts:read events:read"}

    @extend_schema(operation_id="listFormSubmissions")
    def list(self, request: Request, workspace_id: str, form_id: str) -> Response:
        """List the submissions of a form, newest first."""
        form = find_form(self.workspace.id, parse_uuid(form_id))
        submissions = FormSubmission.objects.in_workspace(self.workspace.id).filter(form_id=form.id)
        page = self.paginate_queryset(submissions)
        return self.get_paginated_response(SubmissionSerializer(page, many=True).data)


@contextmanager
def _form_errors_as_fields() -> Iterator[None]:
    """Turn errors about a form into errors of the body's fields. Raises ValidationError."""
    try:
        yield
    except InvalidForm as error:
        raise ValidationError({error.field: [error.message]}) from error


def _asks_by_email(values: Mapping[str, Any]) -> bool:
    return bool(
        values.get("double_opt_in")
        or values.get("on_known") == Form.OnKnown.CONFIRM
        or values.get("confirmation_template")
    )

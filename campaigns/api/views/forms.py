"""Forms: what pages may ask their visitors for, and what was sent."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import presentation
from campaigns.api.filters.forms import FormFilterSet
from campaigns.api.paging import PAGE_PARAMETERS, page_of
from campaigns.api.serializers.forms import (
    FormBodySerializer,
    FormChangesSerializer,
    FormSerializer,
    SubmissionPageSerializer,
)
from campaigns.errors import InvalidForm
from campaigns.forms.forms import FormValues, create_form, delete_form, find_form, update_form
from campaigns.models import Form, FormSubmission
from config.ids import parse_uuid
from workspaces.api.native import NativeAPIView, NativeViewSet
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, read_body
from workspaces.scopes import Need

# What visitors send makes contacts and changes them.
_SCOPES = {
    "GET": "campaigns:read",
    "POST": "campaigns:write contacts:write",
    "PATCH": "campaigns:write contacts:write",
    "DELETE": "campaigns:write",
}
_CONFIRMS = "the body has `doubleOptIn`, `onKnown: CONFIRM` or a `confirmationTemplateId`: e-mails are sent"
_CONFIRMING = (Need("POST", "messages:write", _CONFIRMS), Need("PATCH", "messages:write", _CONFIRMS))
_NAMES = {
    "allowedOrigins": "allowed_origins",
    "doubleOptIn": "double_opt_in",
    "confirmationTemplateId": "confirmation_template",
    "redirectUrl": "redirect_url",
    "onKnown": "on_known",
}


class FormViewSet(NativeViewSet):
    """The forms of a workspace."""

    queryset = Form.objects.none()
    serializer_class = FormSerializer
    filterset_class = FormFilterSet
    pagination_class = None
    lookup_url_kwarg = "form_id"
    scopes = _SCOPES
    needs = _CONFIRMING

    def get_queryset(self) -> QuerySet[Form]:
        """Return the workspace's forms, oldest first."""
        return Form.objects.filter(workspace_id=self.workspace.id).order_by("id")

    @extend_schema(
        operation_id="listForms",
        tags=["forms"],
        responses={200: FormSerializer(many=True), **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the forms, each with the number of what it was sent."""
        return Response(_rows(self.workspace.id, list(self.filter_queryset(self.get_queryset()))))

    @extend_schema(
        operation_id="createForm",
        tags=["forms"],
        request=FormBodySerializer,
        responses={201: FormSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a form; pages post answers to its `submitUrl`."""
        wanted = read_body(FormBodySerializer, request)
        if _asks_by_email(wanted):
            self.need(_CONFIRMING[0])
        with _faults_at_fields():
            form = create_form(self.workspace, _values(wanted))
        return Response(_row(form), status=201)

    @extend_schema(operation_id="getForm", tags=["forms"], responses={200: FormSerializer, **READ_REFUSALS})
    def retrieve(self, request: Request, workspace_id: str, form_id: str) -> Response:
        """Return a form."""
        return Response(_row(find_form(self.workspace, parse_uuid(form_id))))

    @extend_schema(
        operation_id="updateForm",
        tags=["forms"],
        request=FormChangesSerializer,
        responses={200: FormSerializer, **WRITE_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str, form_id: str) -> Response:
        """Change what the body names."""
        form = find_form(self.workspace, parse_uuid(form_id))
        wanted = read_body(FormChangesSerializer, request)
        if _asks_by_email(wanted):
            self.need(_CONFIRMING[1])
        with _faults_at_fields():
            form = update_form(self.workspace, form, _values(wanted))
        return Response(_row(form))

    @extend_schema(operation_id="deleteForm", tags=["forms"], responses={204: None, **WRITE_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, form_id: str) -> Response:
        """Delete a form and the list of what it was sent; the events stay."""
        delete_form(self.workspace, find_form(self.workspace, parse_uuid(form_id)))
        return Response(status=204)


class SubmissionsView(NativeAPIView):
    """What forms were sent."""

    parameters = PAGE_PARAMETERS
    # Each is an event of a contact.
    scopes = {"GET": "campaigns:read contacts:read events:read"}

    @extend_schema(
        operation_id="listFormSubmissions",
        tags=["forms"],
        parameters=PAGE_PARAMETERS,
        responses={200: SubmissionPageSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, form_id: str) -> Response:
        """List what a form was sent, newest first."""
        form = find_form(self.workspace, parse_uuid(form_id))
        submissions = FormSubmission.objects.filter(workspace_id=self.workspace.id, form_id=form.id)
        page, following = page_of(request, submissions)
        return Response({"data": presentation.submission_rows(self.workspace.id, page), "next": following})


@contextmanager
def _faults_at_fields() -> Iterator[None]:
    """Tell what of a form cannot be so. Raises ValidationError."""
    try:
        yield
    except InvalidForm as error:
        raise ValidationError({error.field: [error.message]}) from error


def _asks_by_email(wanted: Mapping[str, Any]) -> bool:
    return bool(
        wanted.get("doubleOptIn")
        or wanted.get("onKnown") == Form.OnKnown.CONFIRM.upper()
        or wanted.get("confirmationTemplateId")
    )


def _values(wanted: dict[str, Any]) -> FormValues:
    values = {_NAMES.get(name, name): value for name, value in wanted.items()}
    if "confirmation_template" in values:
        values["confirmation_template"] = values["confirmation_template"] or ""
    if "on_known" in values:
        values["on_known"] = values["on_known"].lower()
    return FormValues(**values)


def _rows(workspace_id: UUID, forms: Sequence[Form]) -> list[dict[str, Any]]:
    submissions = FormSubmission.objects.filter(
        workspace_id=workspace_id, form_id__in=[one.id for one in forms]
    )
    counts = dict(submissions.order_by().values_list("form_id").annotate(count=Count("id")))
    return [presentation.form_row(form, counts.get(form.id, 0)) for form in forms]


def _row(form: Form) -> dict[str, Any]:
    (row,) = _rows(form.workspace_id, [form])
    return row

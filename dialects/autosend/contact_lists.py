"""AutoSend's endpoints of contact lists, which are static segments."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.models import Suppression
from campaigns.models.messages import Channel
from config.db.lookups import any_of
from config.ids import NO_ID, parse_uuid
from contacts.api.paging import total_of
from contacts.identifiers import normalize_identifier
from contacts.identity.lookup import find
from contacts.identity.resolution import resolve_contacts
from contacts.models import Contact, Identifier
from contacts.queries import with_details
from contacts.references import ContactReference, Resolution
from dialects.autosend.base import document, enveloped
from dialects.autosend.errors import InvalidBody
from dialects.autosend.queries import lock_lists
from dialects.autosend.serializers import (
    AutoSendContactSerializer,
    AutoSendRemovalSerializer,
    AutoSendRemovedSerializer,
    BodySerializer,
    TextField,
    UnsupportedField,
)
from dialects.autosend.viewsets import ContactAccess
from segments.definitions import create_segment, delete_segment, get_segment, update_segment
from segments.errors import SegmentIsDynamic
from segments.memberships import count_members
from segments.models import Membership, Segment
from segments.static_members import add_members, remove_members
from workspaces.api.base import object_body
from workspaces.api.fields import MillisecondsField

MAX_NAME: Final = 200
MAX_DESCRIPTION: Final = 500
MAX_LIMIT: Final = 100
_DEFAULT_LIMIT: Final = 20
_MAX_PAGE: Final = 1_000_000
_RULES = "cannot be set: a list is filled by hand; segments with a rule are made in Headrace's own API"


# Bodies --------------------------------------------------------------------------------------------------------


class ListTypeField(TextField):
    """`list`: a segment has a rule, which this API cannot say."""

    def to_internal_value(self, data: Any) -> str:
        """Return the type. Raises ValidationError for any but `list`."""
        if super().to_internal_value(data) != "list":
            raise ValidationError("must be list: segments with a rule are made in Headrace's own API")
        return "list"


class AutoSendListChangesSerializer(BodySerializer):
    """What changes of a list."""

    name = TextField(max_length=MAX_NAME, required=False)
    description = TextField(max_length=MAX_DESCRIPTION, required=False, allow_null=True)
    type = ListTypeField(required=False, allow_null=True)
    filterCriteria = UnsupportedField(_RULES)
    parentId = UnsupportedField("cannot be set: a list has no parent")


class AutoSendListBodySerializer(AutoSendListChangesSerializer):
    """A list to be made."""

    name = TextField(max_length=MAX_NAME)


@extend_schema_field({"type": "integer", "minimum": 1})
class PositiveField(serializers.Field[Any, Any, Any, Any]):
    """A whole number from 1 on."""

    def __init__(self, highest: int, **kwargs: Any) -> None:
        self.highest = highest
        super().__init__(required=False, allow_null=True, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        """Return the number. Raises ValidationError."""
        if isinstance(data, bool) or not isinstance(data, int) or not 1 <= data <= self.highest:
            raise ValidationError(f"must be an integer from 1 to {self.highest}")
        return data


class AutoSendMembersBodySerializer(BodySerializer):
    """Which contacts of a list to show."""

    contactListId = TextField()
    page = PositiveField(_MAX_PAGE)
    limit = PositiveField(MAX_LIMIT)
    email = TextField(required=False, allow_null=True, help_text="A part of the address, in any case")


class AutoSendAdditionSerializer(AutoSendRemovalSerializer):
    """Whom to put on a list: by addresses or by ids, not both."""

    contactListId = TextField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse both and neither."""
        list_id = attrs.pop("contactListId")
        return {**super().validate(attrs), "contactListId": list_id}


# Answers -------------------------------------------------------------------------------------------------------


class AutoSendListSerializer(serializers.Serializer[Any]):
    """A list; the context's `counts` has the number of its contacts."""

    id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    type = serializers.ChoiceField(choices=["list"], default="list")
    contactCount = serializers.SerializerMethodField()
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")

    def get_contactCount(self, segment: Segment) -> int:  # noqa: N802  (DRF looks for the field's name)
        """Return how many contacts are on the list."""
        count: int = self.context["counts"][segment.id]
        return count


class AutoSendPagesSerializer(serializers.Serializer[Any]):
    """Which page it is, and how many there are; above 10,000 contacts that is an estimate."""

    page = serializers.IntegerField()
    limit = serializers.IntegerField()
    total = serializers.IntegerField()
    pages = serializers.IntegerField()


class AutoSendValidatedSerializer(serializers.Serializer[Any]):
    """An address of an addition, and what it is."""

    email = serializers.CharField()
    status = serializers.ChoiceField(choices=["valid", "invalid", "suppressed"])


class AutoSendValidationSerializer(serializers.Serializer[Any]):
    """The addresses of an addition, by what they are."""

    valid = AutoSendValidatedSerializer(many=True)
    invalid = AutoSendValidatedSerializer(many=True)
    suppressed = AutoSendValidatedSerializer(many=True)


class AutoSendAddedSerializer(serializers.Serializer[Any]):
    """What became of an addition: `added` were known, `created` were not."""

    added = serializers.IntegerField()
    created = serializers.IntegerField()
    alreadyInList = serializers.IntegerField()
    errors = serializers.ListField(child=serializers.CharField())  # type: ignore[assignment]  # the field's name
    validation = AutoSendValidationSerializer()
    totalContactsInList = serializers.IntegerField()
    contacts = AutoSendContactSerializer(many=True)


_LIST = enveloped("ContactList", AutoSendListSerializer())
_LISTS = enveloped(
    "ContactLists",
    inline_serializer("AutoSendContactLists", {"lists": AutoSendListSerializer(many=True)}),
)
_MEMBERS = enveloped(
    "ContactListMembers",
    inline_serializer(
        "AutoSendContactListMembers",
        {"contacts": AutoSendContactSerializer(many=True), "pagination": AutoSendPagesSerializer()},
    ),
)
_ADDED = enveloped("Added", AutoSendAddedSerializer())
_REMOVED = enveloped("Removed", AutoSendRemovedSerializer())
_DELETED = inline_serializer(
    "AutoSendDeleted", {"success": serializers.BooleanField(), "message": serializers.CharField()}
)
_NO_LIST = {404: "No such list"}
_TAKEN = {409: "Another list or segment has this name"}
_TYPE = OpenApiParameter("type", OpenApiTypes.STR, description="`list`", enum=["list"])


class ContactListAccess(ContactAccess):
    """Lists of the project, and who is on them."""

    def list_of(self, list_id: str) -> Segment:
        """Return a list. Raises SegmentNotFound, and SegmentIsDynamic for a segment with a rule."""
        segment = get_segment(self.workspace.id, parse_uuid(list_id) or NO_ID)
        if not segment.is_static:
            raise SegmentIsDynamic
        return segment

    def rendered_lists(self, segments: Sequence[Segment]) -> list[dict[str, Any]]:
        """Return lists with the number of their contacts."""
        context = {"counts": count_members(self.workspace.id, segments)}
        return [AutoSendListSerializer(segment, context=context).data for segment in segments]

    def answer_list(self, segment: Segment, status: int = 200) -> Response:
        """Answer a list."""
        (rendered,) = self.rendered_lists([segment])
        return self.answer(rendered, status)


class ContactListSearchViewSet(ContactListAccess):
    """Finds the contacts of a list."""

    scopes = {"POST": "segments:read contacts:read"}
    repeats_harmlessly = "finds, and changes nothing"

    @document("List the contacts of a list", _MEMBERS, _NO_LIST, body=AutoSendMembersBodySerializer)
    @action(
        detail=False,
        methods=["post"],
        url_path="contact-lists/contacts/search",
        url_name="autosend-list-search",
    )
    def search(self, request: Request) -> Response:
        """Return a page of the contacts of a list, those with `email` in an address."""
        sent = AutoSendMembersBodySerializer.read(object_body(request))
        page, limit = sent.get("page") or 1, sent.get("limit") or _DEFAULT_LIMIT
        found = self._members(self.list_of(sent["contactListId"]), (sent.get("email") or "").strip())
        total = total_of(found)
        shown = with_details(found).order_by("id")[(page - 1) * limit : page * limit]
        pages = {"page": page, "limit": limit, "total": total, "pages": -(-total // limit)}
        return self.answer({"contacts": self.rendered(list(shown)), "pagination": pages})

    def _members(self, segment: Segment, email: str) -> QuerySet[Contact]:
        if "\x00" in email:
            raise InvalidBody([("email", "invalid_format", "Invalid email format")])
        survivor = Coalesce("contact__merged_into_id", "contact_id")
        members = Membership.objects.in_workspace(self.workspace.id).filter(version=segment.version)
        contacts = Contact.objects.in_workspace(self.workspace.id).canonical()
        contacts = contacts.filter(id__in=members.values_list(survivor))
        if email:
            known = Identifier.objects.in_workspace(self.workspace.id)
            known = known.filter(kind=Identifier.EMAIL, value__icontains=email)
            contacts = contacts.filter(id__in=known.values_list(survivor))
        return contacts


class ContactListViewSet(ContactListAccess):
    """Makes, shows, changes, fills and deletes lists."""

    scopes = {
        "GET": "segments:read",
        "POST": "segments:write contacts:read",
        "PATCH": "segments:write",
        "DELETE": "segments:write",
    }
    action_scopes = {
        "create": "segments:write",
        "add_contacts": "segments:write contacts:write contacts:read",
    }

    @document("List the contact lists, oldest first", _LISTS, {400: "Another `type`"}, parameters=[_TYPE])
    @action(detail=False, url_path="contact-lists", url_name="autosend-lists")
    def list_lists(self, request: Request) -> Response:
        """List the lists; segments with a rule are none."""
        if request.query_params.get("type", "list") != "list":
            problem = "must be list: segments with a rule are shown in Headrace's own API"
            raise InvalidBody([("type", "invalid_choice", problem)])
        rows = Segment.objects.in_workspace(self.workspace.id).filter(evaluation=Segment.Evaluation.STATIC)
        return self.answer({"lists": self.rendered_lists(list(rows.order_by("id")))})

    @document("Make a contact list", _LIST, _TAKEN, status=201, body=AutoSendListBodySerializer)
    @list_lists.mapping.post
    def create(self, request: Request) -> Response:
        """Make a list, which is empty."""
        sent = AutoSendListBodySerializer.read(object_body(request))
        segment = create_segment(
            self.workspace.id,
            name=sent["name"],
            description=sent.get("description") or "",
            evaluation=Segment.Evaluation.STATIC,
        )
        return self.answer_list(segment, 201)

    @document("Put contacts on a list", _ADDED, _NO_LIST, body=AutoSendAdditionSerializer)
    @action(
        detail=False,
        methods=["post"],
        url_path="contact-lists/contacts/bulk-add",
        url_name="autosend-list-add",
    )
    def add_contacts(self, request: Request) -> Response:
        """Put contacts on a list; who is unknown by an address becomes a contact."""
        sent = AutoSendAdditionSerializer.read(object_body(request))
        segment = self.list_of(sent["contactListId"])
        with transaction.atomic():
            lock_lists(self.workspace.id, [str(segment.id)])
            if "emails" in sent:
                added, contact_ids = self._add_emails(segment, sent["emails"])
            else:
                added, contact_ids = self._add_ids(segment, sent["contactIds"])
        people = with_details(
            Contact.objects.in_workspace(self.workspace.id).filter(any_of("id", contact_ids))
        )
        total = count_members(self.workspace.id, [segment])[segment.id]
        contacts = self.rendered(list(people.order_by("id")))
        return self.answer({**added, "totalContactsInList": total, "contacts": contacts})

    def _add_ids(self, segment: Segment, texts: Sequence[str]) -> tuple[dict[str, Any], list[UUID]]:
        """Return what became of ids, and the contacts of those that are known."""
        ids = {text: parse_uuid(text) for text in texts}
        found = find(self.workspace.id, [each for each in ids.values() if each is not None]).by_id
        contact_ids = list(dict.fromkeys(found.values()))
        outcome = add_members(self.workspace.id, segment, contact_ids=contact_ids)
        unknown = [text for text, contact_id in ids.items() if contact_id not in found]
        errors = [f"{text}: Contact not found" for text in unknown]
        return _added(outcome.changed, 0, outcome.unchanged, errors, {}), contact_ids

    def _add_emails(self, segment: Segment, texts: Sequence[str]) -> tuple[dict[str, Any], list[UUID]]:
        """Return what became of addresses, and the contacts that they are of."""
        spelled = {text: normalize_identifier(Identifier.EMAIL, text) for text in texts}
        addresses = list(dict.fromkeys(each for each in spelled.values() if each is not None))
        references = [
            ContactReference(identifiers=((Identifier.EMAIL, each),), if_missing="create")
            for each in addresses
        ]
        people: list[Resolution] = []
        errors: list[str] = []
        for address, result in zip(addresses, resolve_contacts(self.workspace.id, references), strict=True):
            if isinstance(result, Resolution):
                people.append(result)
            else:
                errors.append(f"{address}: {result.message}")
        contact_ids = list(dict.fromkeys(each.contact_id for each in people))
        outcome = add_members(self.workspace.id, segment, contact_ids=contact_ids)
        created = sum(each.created for each in people)
        suppressed = self._suppressed(addresses)
        statuses = {
            "valid": [each for each in addresses if each not in suppressed],
            "invalid": [text for text, address in spelled.items() if address is None],
            "suppressed": [each for each in addresses if each in suppressed],
        }
        added = _added(outcome.changed - created, created, outcome.unchanged, errors, statuses)
        return added, contact_ids

    def _suppressed(self, addresses: Sequence[str]) -> set[str]:
        """Return which addresses are suppressed, as far as the key may know."""
        if not self.may("messages:read"):
            return set()
        rows = Suppression.objects.in_workspace(self.workspace.id).filter(channel=Channel.EMAIL)
        return set(rows.filter(any_of("address", addresses)).values_list("address", flat=True))

    @document("Take contacts off a list", _REMOVED, _NO_LIST, body=AutoSendRemovalSerializer)
    @action(
        detail=False,
        methods=["post"],
        url_path=r"contact-lists/(?P<list_id>[^/]+)/contacts/remove",
        url_name="autosend-list-remove",
    )
    def remove_contacts(self, request: Request, list_id: str) -> Response:
        """Take contacts off a list; they are not deleted."""
        contact_list = self.list_of(list_id)
        sent = AutoSendRemovalSerializer.read(object_body(request))
        ids = {text: parse_uuid(text) for text in sent.get("contactIds", ())}
        removal = remove_members(
            self.workspace.id,
            contact_list,
            contact_ids=[contact_id for contact_id in ids.values() if contact_id is not None],
            identifiers=[(Identifier.EMAIL, email) for email in dict.fromkeys(sent.get("emails", ()))],
        )
        removal.unknown.extend(text for text, contact_id in ids.items() if contact_id is None)
        return self.answer(AutoSendRemovedSerializer(removal).data)

    @document("Get a contact list", _LIST, _NO_LIST)
    @action(detail=False, url_path=r"contact-lists/(?P<list_id>[^/]+)", url_name="autosend-list")
    def retrieve(self, request: Request, list_id: str) -> Response:
        """Return the list."""
        return self.answer_list(self.list_of(list_id))

    @document("Change a contact list", _LIST, _NO_LIST, _TAKEN, body=AutoSendListChangesSerializer)
    @retrieve.mapping.patch
    def update(self, request: Request, list_id: str) -> Response:
        """Set the name, the description, or both."""
        sent = AutoSendListChangesSerializer.read(object_body(request))
        segment = self.list_of(list_id)
        description = (sent["description"] or "") if "description" in sent else None
        changed = update_segment(self.workspace.id, segment, name=sent.get("name"), description=description)
        return self.answer_list(changed)

    @document("Delete a contact list", _DELETED, _NO_LIST, {409: "A rule builds on the list"})
    @retrieve.mapping.delete
    def destroy(self, request: Request, list_id: str) -> Response:
        """Delete the list; its contacts stay."""
        delete_segment(self.workspace.id, self.list_of(list_id))
        return Response({"success": True, "message": "Contact list deleted successfully"})


def _added(
    added: int, created: int, unchanged: int, errors: list[str], statuses: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    return {
        "added": added,
        "created": created,
        "alreadyInList": unchanged,
        "errors": errors,
        "validation": {
            status: [{"email": email, "status": status} for email in statuses.get(status, ())]
            for status in ("valid", "invalid", "suppressed")
        },
    }

"""The kinds of objects in a configuration, in the order in which they are applied: how each is read and saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Final
from uuid import UUID

from rest_framework import serializers

from campaigns.api.serializers.campaigns import EMPTY_DEFINITION
from campaigns.configuration.references import (
    SEGMENT,
    TEMPLATE,
    Names,
    Rename,
    in_order,
    rename_in_definition,
    rename_in_rule,
    segments_named_in_rule,
)
from campaigns.configuration.serializers import (
    CampaignFileSerializer,
    ChannelFileSerializer,
    DefinitionFileSerializer,
    FieldFileSerializer,
    ScoringRuleFileSerializer,
    SegmentFileSerializer,
    TemplateFileSerializer,
)
from campaigns.journeys.lifecycle import CampaignEdits, archive_campaign, delete_campaign
from campaigns.messaging.channel_settings import channels_of, save_channel
from campaigns.messaging.templates import TemplateEdits, delete_template
from campaigns.models import Campaign, ChannelSettings, Template
from campaigns.models.messages import Channel
from config.files.documents import InvalidDocument, is_same
from config.values.names import composed
from contacts.errors import InvalidFieldFormat
from contacts.models import Field
from contacts.profiles.fields import FieldEdits, delete_field
from events.api.serializers import specs_from
from events.models import EventDefinition, EventProperty
from events.stream.definitions import DefinitionEdits, delete_definition
from scoring.models import ScoringRule
from scoring.rules import ScoringRuleEdits, delete_rule
from segments.definitions import SegmentEdits, delete_segment
from segments.models import Segment
from workspaces.models import Workspace

REQUIRED: Final = object()
"""In a kind's keys: the file must say it."""
_PROPERTY: Final[Mapping[str, Any]] = {"name": None, "type": None, "description": "", "suggestedValues": []}
_FIXED: Final = "It cannot be changed: delete the object first."


@dataclass(slots=True)
class Target:
    """Where a configuration is applied, in whose name, and the names of what is there."""

    workspace: Workspace
    actor: str = ""
    names: Names = field(default_factory=Names)
    is_trial: bool = False
    """Whether all is undone at the end: then no enrollments need to be ended."""


class Kind(ABC):
    """A kind of objects; each is found by its name, and has a file in the kind's folder."""

    folder: ClassVar[str]
    label: ClassVar[str]
    key: ClassVar[str] = "name"
    keys: ClassVar[Mapping[str, Any]]
    """Every key of a file in its order, with what it means where a file has none of it."""
    serializer: ClassVar[type[serializers.BaseSerializer[Any]]]

    @cached_property
    def _renderer(self) -> Any:
        return self.serializer()

    @abstractmethod
    def rows(self, workspace_id: UUID) -> Iterable[Any]:
        """Return what there is, by id."""

    @abstractmethod
    def edits(self, target: Target, wanted: Mapping[str, Any | None]) -> Any:
        """Return the edits of the kind's service, for objects by name: their rows, or None where they are new."""

    @abstractmethod
    def save(self, target: Target, edits: Any, row: Any | None, values: dict[str, Any]) -> None:
        """Have an object created or changed by the edits. Raises domain errors."""

    def delete(self, target: Target, row: Any) -> None:
        """Delete an object. Raises a DomainError where others need it."""
        raise NotImplementedError

    def is_deletable(self, row: Any) -> bool:
        """Return whether there is such a thing as deleting it."""
        return True

    def is_untouched(self, document: Mapping[str, Any]) -> bool:
        """Return whether a document says nothing but what would hold without it."""
        return False

    def name_of(self, row: Any) -> str:
        """Return what an object is called in files."""
        return str(row.name)

    def name_in(self, document: Mapping[str, Any]) -> str:
        """Return the name of a document's object. Raises InvalidDocument."""
        name = document.get(self.key)
        if not isinstance(name, str) or not name.strip():
            raise InvalidDocument(self.key, "Must be a text.")
        return name

    def shown(self, row: Any) -> Any:
        """Return what the serializer renders of a row."""
        return row

    def renamed(self, document: dict[str, Any], rename: Rename) -> dict[str, Any]:
        """Return a document with its references to other objects replaced."""
        return document

    def ordered(self, documents: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
        """Return the names of documents in the order in which they can be applied. Raises InvalidDocument."""
        return list(documents)

    def document_of(self, row: Any, names: Names) -> dict[str, Any]:
        """Return the document of an object."""
        rendered = self.renamed(dict(self._renderer.to_representation(self.shown(row))), names.to_name)
        return {key: rendered[key] for key in self.keys if key in rendered}

    def completed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document with every key, in order; what is required and missing stays missing."""
        whole = {key: document.get(key, default) for key, default in self.keys.items()}
        return {key: value for key, value in whole.items() if value is not REQUIRED} | {
            key: value for key, value in document.items() if key not in self.keys
        }

    def values_in(self, target: Target, row: Any | None, document: dict[str, Any]) -> dict[str, Any]:
        """Return a document's values as the service takes them. Raises ValidationError, InvalidDocument."""
        serializer = self.serializer(
            row, data=self.renamed(document, target.names.to_id), context={"workspace": target.workspace}
        )
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


class _Definitions(Kind):
    folder, label = "event-definitions", "event definition"
    keys = {"name": REQUIRED, "description": "", "lateAfterHours": 72, "properties": []}
    serializer = DefinitionFileSerializer

    def rows(self, workspace_id: UUID) -> Iterable[EventDefinition]:
        properties: dict[UUID, list[EventProperty]] = defaultdict(list)
        for item in EventProperty.objects.in_workspace(workspace_id).filter(is_declared=True):
            properties[item.definition_id].append(item)
        definitions = EventDefinition.objects.in_workspace(workspace_id).active().declared().order_by("id")
        for definition in definitions:
            definition.declared_properties = properties[definition.id]  # type: ignore[attr-defined]  # for `shown`
        return definitions

    def name_in(self, document: Mapping[str, Any]) -> str:
        return composed(super().name_in(document))

    def shown(self, row: EventDefinition) -> Any:
        return {
            "name": row.name,
            "description": row.description,
            "late_after_hours": row.late_after_hours,
            "properties": row.declared_properties,  # type: ignore[attr-defined]  # of `rows`
        }

    def completed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        whole = super().completed(document)
        properties = whole["properties"]
        if isinstance(properties, list):
            whole["properties"] = [
                {**_PROPERTY, **item} if isinstance(item, Mapping) else item for item in properties
            ]
        return whole

    def edits(self, target: Target, wanted: Mapping[str, EventDefinition | None]) -> DefinitionEdits:
        return DefinitionEdits(
            target.workspace.id,
            names=[name for name, row in wanted.items() if row is None],
            definition_ids=[row.id for row in wanted.values() if row is not None],
        )

    def save(
        self, target: Target, edits: DefinitionEdits, row: EventDefinition | None, values: dict[str, Any]
    ) -> None:
        more: dict[str, Any] = {
            "description": values["description"],
            "late_after_hours": values["late_after_hours"],
            "properties": specs_from(values["properties"]),
        }
        if row is None:
            edits.create(values["name"], **more)
        else:
            edits.replace(row, **more)

    def delete(self, target: Target, row: EventDefinition) -> None:
        delete_definition(row)


class _Fields(Kind):
    folder, label = "contact-fields", "contact field"
    keys = {"name": REQUIRED, "type": REQUIRED, "format": None}
    serializer = FieldFileSerializer

    def rows(self, workspace_id: UUID) -> Iterable[Field]:
        return Field.objects.in_workspace(workspace_id).order_by("id")

    def name_in(self, document: Mapping[str, Any]) -> str:
        return composed(super().name_in(document))

    def edits(self, target: Target, wanted: Mapping[str, Field | None]) -> FieldEdits:
        return FieldEdits(target.workspace.id)

    def save(self, target: Target, edits: FieldEdits, row: Field | None, values: dict[str, Any]) -> None:
        try:
            if row is None:
                edits.create(values["name"], values["type"], values["format"])
            else:
                _check_fixed(row, values, "type")
                edits.change_format(row, values["format"])
        except InvalidFieldFormat as error:
            raise InvalidDocument("format", error.sentence) from error

    def delete(self, target: Target, row: Field) -> None:
        delete_field(target.workspace, row)


class _Channels(Kind):
    folder, label, key = "channels", "channel", "channel"
    keys = {
        "channel": REQUIRED,
        "sender": "",
        "options": {},
        "requiresOptIn": False,
        "frequencyCap": None,
        "quietHours": None,
        "timeZone": "UTC",
        "onUnknown": "HOLD",
        "maxAttempts": 8,
    }
    serializer = ChannelFileSerializer

    def rows(self, workspace_id: UUID) -> Iterable[ChannelSettings]:
        return channels_of(workspace_id)

    def name_of(self, row: ChannelSettings) -> str:
        return row.channel.upper()

    def edits(self, target: Target, wanted: Mapping[str, ChannelSettings | None]) -> None:
        return None

    def save(self, target: Target, edits: None, row: ChannelSettings | None, values: dict[str, Any]) -> None:
        # There are a few, and each releases what it no longer holds back.
        save_channel(target.workspace.id, values.pop("channel"), **values)

    def is_deletable(self, row: ChannelSettings) -> bool:
        return False

    def is_untouched(self, document: Mapping[str, Any]) -> bool:
        defaults = (ChannelSettings(channel=channel) for channel in Channel.values)
        return any(is_same(document, self.document_of(row, Names())) for row in defaults)


class _Templates(Kind):
    folder, label = "templates", "template"
    keys = {
        "name": REQUIRED,
        "channel": "EMAIL",
        "subject": "",
        "sender": "",
        "replyTo": "",
        "body": REQUIRED,
        "text": "",
    }
    serializer = TemplateFileSerializer

    def rows(self, workspace_id: UUID) -> Iterable[Template]:
        return Template.objects.in_workspace(workspace_id).order_by("id")

    def edits(self, target: Target, wanted: Mapping[str, Template | None]) -> TemplateEdits:
        return TemplateEdits(target.workspace.id)

    def save(
        self, target: Target, edits: TemplateEdits, row: Template | None, values: dict[str, Any]
    ) -> None:
        if row is not None:
            _check_fixed(row, values, "channel")
        saved = edits.save(row or Template(workspace=target.workspace), **values)
        target.names.by_id[TEMPLATE][saved.id] = saved.name

    def delete(self, target: Target, row: Template) -> None:
        delete_template(row)


class _Segments(Kind):
    folder, label = "segments", "segment"
    keys = {
        "name": REQUIRED,
        "description": "",
        "evaluation": "DYNAMIC",
        "startsCampaigns": False,
        "rules": None,
    }
    serializer = SegmentFileSerializer

    def rows(self, workspace_id: UUID) -> Iterable[Segment]:
        return Segment.objects.in_workspace(workspace_id).order_by("id")

    def shown(self, row: Segment) -> Any:
        return {
            "name": row.name,
            "description": row.description,
            "evaluation": row.evaluation,
            "starts_campaigns": row.starts_campaigns,
            "raw": wanted_rule(row),
        }

    def renamed(self, document: dict[str, Any], rename: Rename) -> dict[str, Any]:
        return {**document, "rules": rename_in_rule(document.get("rules"), "rules", rename)}

    def ordered(self, documents: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
        needs = {
            name: set(segments_named_in_rule(document.get("rules"))) for name, document in documents.items()
        }
        try:
            return in_order(needs)
        except ValueError as error:
            raise InvalidDocument("rules", f"The segments would build on themselves: {error}.") from error

    def edits(self, target: Target, wanted: Mapping[str, Segment | None]) -> SegmentEdits:
        return SegmentEdits(target.workspace.id, _standing(wanted))

    def save(self, target: Target, edits: SegmentEdits, row: Segment | None, values: dict[str, Any]) -> None:
        if row is None:
            saved = edits.create(**values)
        else:
            _check_fixed(row, values, "evaluation")
            if is_same(values["raw"], wanted_rule(row)):
                values["raw"] = None  # a draft that waits for somebody goes on waiting
            saved = edits.update(row, **{name: values[name] for name in values if name != "evaluation"})
        target.names.by_id[SEGMENT][saved.id] = saved.name

    def delete(self, target: Target, row: Segment) -> None:
        delete_segment(target.workspace.id, row)


class _ScoringRules(Kind):
    folder, label = "scoring-rules", "scoring rule"
    keys = {
        "name": REQUIRED,
        "description": "",
        "active": True,
        "eventType": REQUIRED,
        "condition": None,
        "delta": REQUIRED,
        "decayPoints": None,
        "decayDays": None,
        "maxScore": None,
        "minScore": None,
        "limit": None,
    }
    serializer = ScoringRuleFileSerializer

    def rows(self, workspace_id: UUID) -> Iterable[ScoringRule]:
        return ScoringRule.objects.in_workspace(workspace_id).order_by("id")

    def renamed(self, document: dict[str, Any], rename: Rename) -> dict[str, Any]:
        return {**document, "condition": rename_in_rule(document.get("condition"), "condition", rename)}

    def edits(self, target: Target, wanted: Mapping[str, ScoringRule | None]) -> ScoringRuleEdits:
        return ScoringRuleEdits(target.workspace.id, _standing(wanted))

    def save(
        self, target: Target, edits: ScoringRuleEdits, row: ScoringRule | None, values: dict[str, Any]
    ) -> None:
        edits.save(row or ScoringRule(workspace=target.workspace), **values)

    def delete(self, target: Target, row: ScoringRule) -> None:
        delete_rule(row)


class _Campaigns(Kind):
    folder, label = "campaigns", "campaign"
    keys = {
        "name": REQUIRED,
        "description": "",
        "type": REQUIRED,
        "priority": 0,
        "sender": "",
        "replyTo": "",
        "startAt": None,
        "endAt": None,
        **EMPTY_DEFINITION,
    }
    serializer = CampaignFileSerializer

    def rows(self, workspace_id: UUID) -> Iterable[Campaign]:
        campaigns = Campaign.objects.in_workspace(workspace_id).select_related("active_version")
        return campaigns.exclude(status=Campaign.Status.ARCHIVED).order_by("id")

    def shown(self, row: Campaign) -> Any:
        row.definition = _whole_definition(row.draft)  # type: ignore[attr-defined]  # for the serializer
        return row

    def renamed(self, document: dict[str, Any], rename: Rename) -> dict[str, Any]:
        return rename_in_definition(document, rename)

    def document_of(self, row: Campaign, names: Names) -> dict[str, Any]:
        document = super().document_of(row, names)
        if not serves_draft(row):
            return document
        return self.completed({**document, "status": Campaign.Status.ACTIVE.value})

    def completed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        whole = super().completed(document)
        status = whole.pop("status", None)
        if status is None:
            return whole
        status = status.upper() if status == "active" else status
        placed = {"name": whole.pop("name", None), "status": status}
        return {key: value for key, value in placed.items() if value is not None} | whole

    def edits(self, target: Target, wanted: Mapping[str, Campaign | None]) -> CampaignEdits:
        return CampaignEdits(target.workspace.id, _standing(wanted))

    def save(
        self, target: Target, edits: CampaignEdits, row: Campaign | None, values: dict[str, Any]
    ) -> None:
        is_active = values.pop("status", None) is not None
        definition: dict[str, Any] | None = _whole_definition(values.pop("definition"))
        if row is None:
            saved = edits.create(definition=definition, allow_past=True, **values)
        else:
            if is_same(definition, _whole_definition(row.draft)):
                definition = None  # another spelling of the same is no other version
            saved = edits.update(row, definition=definition, allow_past=True, **values)
        if is_active and not serves_draft(saved):
            edits.activate(saved, actor=target.actor)

    def delete(self, target: Target, row: Campaign) -> None:
        if row.active_version is None:
            delete_campaign(target.workspace.id, row)
        elif target.is_trial:
            standing = Campaign.objects.in_workspace(target.workspace.id).filter(id=row.id)
            standing.update(status=Campaign.Status.ARCHIVED)
        else:
            archive_campaign(target.workspace.id, row)


KINDS: Final[tuple[Kind, ...]] = (
    _Definitions(),
    _Fields(),
    _Channels(),
    _Templates(),
    _Segments(),
    _ScoringRules(),
    _Campaigns(),
)


def wanted_rule(segment: Segment) -> Any:
    """Return the rule that serves, or that will as soon as it is built; of drafts on trial only a first one."""
    is_coming = segment.has_draft and segment.build_publishes and segment.build != Segment.Build.FAILED
    return segment.draft_rule if is_coming or segment.rule is None else segment.rule


def serves_draft(campaign: Campaign) -> bool:
    """Return whether a campaign is active by the definition that is its draft."""
    version = campaign.active_version
    return (
        campaign.status == Campaign.Status.ACTIVE
        and version is not None
        and is_same(_whole_definition(version.definition), _whole_definition(campaign.draft))
    )


def _whole_definition(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**EMPTY_DEFINITION, **(raw or {})}


def _standing(wanted: Mapping[str, Any | None]) -> list[UUID]:
    return [row.id for row in wanted.values() if row is not None]


def _check_fixed(row: Any, values: dict[str, Any], name: str) -> None:
    """Raise InvalidDocument if a file says otherwise of what stays as it is."""
    if values[name] != getattr(row, name):
        raise InvalidDocument(name, _FIXED)

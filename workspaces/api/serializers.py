"""Serializers of sign-in and API keys in the native API."""

from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers

from workspaces.api.fields import MillisecondsField, MomentField, StrictCharField
from workspaces.models import ApiKey, Role
from workspaces.origins import MOST_ORIGINS
from workspaces.rates import validate_rate
from workspaces.scopes import SCOPES, unknown_scopes

_SECRET = {"input_type": "password"}


class CredentialsSerializer(serializers.Serializer[Any]):
    """A user name or an e-mail address, and a password."""

    username = StrictCharField(max_length=254, required=False)
    email = StrictCharField(max_length=254, required=False)
    password = StrictCharField(max_length=4096, trim_whitespace=False, style=_SECRET, write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse credentials that name nobody."""
        identifier = attrs.get("username") or attrs.get("email")
        if not identifier:
            raise serializers.ValidationError({"username": ["A user name or an e-mail address is required."]})
        return {**attrs, "identifier": identifier}


class TokenRequestSerializer(CredentialsSerializer):
    """Credentials, and the workspace that the token shall open."""

    workspace = StrictCharField(max_length=64, required=False)


class TokenRefreshSerializer(serializers.Serializer[Any]):
    """A refresh token."""

    refresh = StrictCharField(max_length=4096)


class TokenPairSerializer(serializers.Serializer[Any]):
    """What signing in for a JWT gives."""

    access = serializers.CharField()
    refresh = serializers.CharField()
    workspace = serializers.UUIDField(
        source="workspace.id", help_text="The id of the workspace that the token opens."
    )


class RefreshedTokensSerializer(serializers.Serializer[Any]):
    """A new access token, and the refresh token that takes the place of the one that was used."""

    access = serializers.CharField()
    refresh = serializers.CharField()


class WorkspaceSerializer(serializers.Serializer[Any]):
    """A workspace."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    identityField = serializers.CharField(
        source="identity_field", help_text="What names a contact besides its id."
    )
    allowedOrigins = serializers.ListField(
        source="allowed_origins",
        child=serializers.CharField(),
        help_text="Sites whose pages may send events from a browser.",
    )
    createdAt = MillisecondsField(source="created_at")


class WorkspaceChangeSerializer(serializers.Serializer[Any]):
    """What of a workspace can be changed by its API."""

    allowedOrigins = serializers.ListField(child=StrictCharField(max_length=300), max_length=MOST_ORIGINS)


class UserSerializer(serializers.Serializer[Any]):
    """A signed-in user."""

    id = serializers.UUIDField()
    username = serializers.CharField()
    email = serializers.CharField()
    firstName = serializers.CharField(source="first_name")
    lastName = serializers.CharField(source="last_name")


class MembershipSerializer(serializers.Serializer[Any]):
    """A workspace of a signed-in user."""

    id = serializers.UUIDField(source="workspace.id")
    name = serializers.CharField(source="workspace.name")
    role = serializers.ChoiceField(choices=Role.choices)


class SessionSerializer(serializers.Serializer[Any]):
    """A session: who, where, and the token that writes have to carry as `X-CSRFToken`."""

    user = UserSerializer()
    workspaces = MembershipSerializer(many=True)
    csrfToken = serializers.CharField()


class HealthSerializer(serializers.Serializer[Any]):
    """A sign of life."""

    status = serializers.CharField()
    timestamp = MillisecondsField()
    version = serializers.CharField()


class ErrorSerializer(serializers.Serializer[Any]):
    """A refusal of the native API."""

    error = serializers.CharField()
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    """An API key as a list shows it: masked."""

    key = serializers.CharField(source="masked", read_only=True)
    rateLimit = serializers.CharField(source="rate_limit")
    createdAt = MillisecondsField(source="created_at")
    expiresAt = MillisecondsField(source="expires_at", allow_null=True)
    lastUsedAt = MillisecondsField(source="last_used_at", allow_null=True)

    class Meta:
        model = ApiKey
        fields = ["id", "name", "key", "scopes", "rateLimit", "createdAt", "expiresAt", "lastUsedAt"]


class IssueKeySerializer(serializers.Serializer[Any]):
    """What a new API key shall be."""

    name = StrictCharField(max_length=200)
    scopes = serializers.ListField(child=StrictCharField(), allow_empty=False, max_length=len(SCOPES))
    expiresAt = MomentField(required=False, allow_null=True, default=None)
    rateLimit = StrictCharField(required=False, allow_blank=True, default="", max_length=40)

    def validate_scopes(self, value: list[str]) -> list[str]:
        """Refuse scopes that do not exist."""
        if unknown := unknown_scopes(value):
            raise serializers.ValidationError(f"Unknown scopes: {', '.join(unknown)}")
        return value

    def validate_rateLimit(self, value: str) -> str:  # noqa: N802  (DRF looks for the field's name)
        """Refuse what is no rate."""
        try:
            validate_rate(value)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages) from error
        return value


class RevokeKeySerializer(serializers.Serializer[Any]):
    """Which key to revoke."""

    keyId = StrictCharField(max_length=64)


class SuccessSerializer(serializers.Serializer[Any]):
    """A write that has nothing else to say."""

    success = serializers.BooleanField()

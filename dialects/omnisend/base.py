"""What the vendor's endpoints have in common: credentials, rate, and the documentation of their answers."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers

from dialects.omnisend.authentication import HeaderKeyAuthentication
from dialects.omnisend.serializers import OmnisendProblemSerializer
from workspaces.access import Credential
from workspaces.api.base import WorkspaceAccess
from workspaces.authentication.schemes import BearerAuthentication
from workspaces.throttles import ThrottleState

PROBLEM = "application/problem+json"
Action = TypeVar("Action", bound=Callable[..., Any])
_REMEMBERING = HeaderKeyAuthentication(remembers=True)
_REFUSALS = {
    400: "The body or a parameter is invalid",
    401: "No valid credential",
    403: "The credential lacks the scope",
    404: "There is no such thing",
    409: "It contradicts what is stored, or the Idempotency-Key stands for another request",
    413: "The body is too large",
    415: "The body is not JSON",
    429: "Too many requests",
}


class OmnisendErrorSerializer(serializers.Serializer[Any]):
    """A refusal of v3; `fields` has the messages by field."""

    error = serializers.CharField()
    fields: Any = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


class OmnisendAccess(WorkspaceAccess):
    """An endpoint of the brand, which is the credential's workspace."""

    authentication_classes: Any = (BearerAuthentication, HeaderKeyAuthentication)
    vendor_rate = "400/minute"
    # What a page may send besides, where the route takes events.
    request_headers: ClassVar[tuple[str, ...]] = ("X-API-KEY", "Omnisend-Version")

    def throttle_identity(self, credential: Credential) -> str:
        """Return the workspace: the documented limit is per brand."""
        return f"workspace:{credential.workspace_id}"

    def rate_headers(self, state: ThrottleState) -> dict[str, str]:
        """Return no header: Omnisend tells the wait with a 429 only."""
        return {}


class OmnisendIngest(OmnisendAccess):
    """An endpoint of the brand that takes events, and verifies the credential as it records them."""

    def get_authenticators(self) -> Any:
        """Take a key that is cached; only a POST asks the cache."""
        return (_REMEMBERING, *super().get_authenticators())


def document(
    summary: str, answers: Mapping[int, Any], *, body: Any = None, **options: Any
) -> Callable[[Action], Action]:
    """Describe an action; `answers`: bodies by status, None for an empty one. Refusals are added."""
    refusals: dict[Any, Any] = {}
    for status, why in _REFUSALS.items():
        refusals[status, PROBLEM] = OpenApiResponse(OmnisendProblemSerializer, description=why)
        refusals[status, "application/json"] = OpenApiResponse(OmnisendErrorSerializer, description="In v3")
    described: Callable[[Action], Action] = extend_schema(
        tags=["Omnisend"],
        summary=summary,
        request=body,
        responses={**answers, **refusals},
        **options,
    )
    return described

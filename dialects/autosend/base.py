"""What AutoSend's endpoints share: the project of the key, the envelope, the description of an operation."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.response import Response

from dialects.autosend.errors import error_table
from dialects.autosend.serializers import AutoSendErrorSerializer
from workspaces.api.base import WorkspaceAccess, WorkspaceViewSet
from workspaces.authentication.schemes import BearerAuthentication

Action = TypeVar("Action", bound=Callable[..., Any])

_REFUSALS = {401: "No valid key", 403: "The key lacks the scope", 429: "Too many requests"}
_BODY_REFUSALS = _REFUSALS | {
    400: "The body is invalid; `details` names every field",
    413: "The body is too large",
    415: "The body is not application/json",
}


def enveloped(name: str, data: Any) -> Any:
    """Describe data in its envelope."""
    return inline_serializer(f"AutoSend{name}Answer", {"success": serializers.BooleanField(), "data": data})


def document(
    summary: str,
    answer: Any,
    *refusals: Mapping[int, str],
    status: int = 200,
    body: Any = None,
    **options: Any,
) -> Callable[[Action], Action]:
    """Return the decorator that describes an operation; `refusals` add to the common ones."""
    reasons = dict(_BODY_REFUSALS if body else _REFUSALS)
    for more in refusals:
        reasons |= more
    decorator: Callable[[Action], Action] = extend_schema(
        tags=["AutoSend"],
        summary=summary,
        request=body,
        responses={
            status: OpenApiResponse(answer, description=summary),
            **{
                code: OpenApiResponse(AutoSendErrorSerializer, description=why)
                for code, why in reasons.items()
            },
        },
        **options,
    )
    return decorator


class AutoSendAccess(WorkspaceAccess):
    """An endpoint of the project that the key belongs to."""

    authentication_classes = (BearerAuthentication,)
    error_table = error_table
    # "2 requests per second", counted in a window of a minute: the headers say 120.
    vendor_rate = "120/minute"


class AutoSendViewSet(AutoSendAccess, WorkspaceViewSet):
    """Objects of the project, in the vendor's envelope."""

    def answer(self, data: Any, status: int = 200) -> Response:
        """Answer data in its envelope."""
        return Response({"success": True, "data": data}, status=status)

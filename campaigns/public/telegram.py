"""The webhook for updates of a workspace's Telegram bot."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.messaging.telegram_inbound import bot_token, is_webhook_secret, record_update
from config.ids import NO_ID, parse_uuid
from workspaces.api.native import NativePublicViewSet, object_body
from workspaces.models import Workspace

_SECRET_HEADER = "HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN"  # noqa: S105  # a header's name


class TelegramUpdateViewSet(NativePublicViewSet):
    """The updates of a workspace's bot, authorised by the secret that the webhook was set with."""

    @extend_schema(exclude=True)
    def create(self, request: Request, workspace_id: str) -> Response:
        """Record one update; it is never to be sent again, whatever it is."""
        workspace = Workspace.objects.filter(pk=parse_uuid(workspace_id) or NO_ID).first()
        token = bot_token(workspace.pk) if workspace else ""
        secret = request.META.get(_SECRET_HEADER, "")
        if workspace is None or not token or not is_webhook_secret(secret, workspace.pk, token):
            raise AuthenticationFailed
        record_update(workspace.id, object_body(request))
        return Response({"ok": True})

"""What Telegram tells us of its chats."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.messaging.telegram_inbound import bot_token, is_webhook_secret, record_update
from config.ids import NO_ID, parse_uuid
from workspaces.api.native import NativePublicView, object_body
from workspaces.models import Workspace

_SECRET_HEADER = "HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN"  # noqa: S105  # a header's name


class TelegramView(NativePublicView):
    """The updates of a workspace's bot."""

    @extend_schema(exclude=True)
    def post(self, request: Request, workspace_id: str) -> Response:
        """Take one update; whatever it is, it need not be sent again."""
        workspace = Workspace.objects.filter(pk=parse_uuid(workspace_id) or NO_ID).first()
        token = bot_token(workspace.pk) if workspace else ""
        told = request.META.get(_SECRET_HEADER, "")
        if workspace is None or not token or not is_webhook_secret(told, workspace.pk, token):
            raise AuthenticationFailed
        record_update(workspace, object_body(request))
        return Response({"ok": True})

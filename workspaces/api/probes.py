"""Health probes for load balancers and process managers, without credentials and under any host name."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import resolve
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.http import readiness
from workspaces.api.errors import RETRY_SECONDS
from workspaces.api.native import NativePublicView

Handler = Callable[[HttpRequest], HttpResponseBase]


class LiveSerializer(serializers.Serializer[object]):
    """A sign of life."""

    status = serializers.ChoiceField(["ok"])


class ChecksSerializer(serializers.Serializer[object]):
    """How each part is: `ok`, or what is wrong with it."""

    database = serializers.CharField()
    migrations = serializers.CharField()
    broker = serializers.CharField()


class ReadySerializer(serializers.Serializer[object]):
    """Whether requests can be answered in full."""

    status = serializers.ChoiceField(["ready"])
    checks = ChecksSerializer()


class NotReadySerializer(serializers.Serializer[object]):
    """Which parts are not ready."""

    error = serializers.CharField()
    status = serializers.ChoiceField(["not ready"])
    checks = ChecksSerializer()


class LiveView(NativePublicView):
    """Tells that the process answers."""

    @extend_schema(operation_id="getLiveness", tags=["health"], auth=[], responses={200: LiveSerializer})
    def get(self, request: Request) -> Response:
        """Return a sign of life, whatever the database and the broker do."""
        return Response({"status": "ok"})


class ReadyView(NativePublicView):
    """Tells whether the process can do its work."""

    @extend_schema(
        operation_id="getReadiness",
        tags=["health"],
        auth=[],
        responses={200: ReadySerializer, 503: NotReadySerializer},
    )
    def get(self, request: Request) -> Response:
        """TimedProbe at the database, at its migrations and at the broker; 503 names those that are not ready."""
        checks = readiness.state()
        wrong = [part for part, answer in checks.items() if answer != readiness.OK]
        if not wrong:
            return Response({"status": "ready", "checks": checks})
        return Response(
            {"error": f"Not ready: {', '.join(wrong)}", "status": "not ready", "checks": checks},
            status=503,
            headers={"Retry-After": str(RETRY_SECONDS)},
        )


def serve_probes_first(get_response: Handler) -> Handler:
    """Answer probes ahead of the middleware that asks for a known host, HTTPS or a session."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info not in settings.PROBES:
            return get_response(request)
        response: HttpResponseBase = resolve(request.path_info).func(request)
        if isinstance(response, SimpleTemplateResponse):
            response.render()
        # Not being ready is an answer, not a fault of which each request should leave a line.
        response._has_been_logged = True  # type: ignore[attr-defined]  # what Django looks at
        response.dialect = "probe"  # type: ignore[attr-defined]  # see config.wsgi
        return response

    return middleware

"""The OpenAPI document and the page to browse it, both served without any other site."""

import gzip
import hashlib
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.views import SpectacularSwaggerView
from rest_framework.request import Request

from config.errors import TryAgain
from workspaces.api.native import NativePublicView

BUILD_SECONDS = 20.0
"""How long a request waits for the document where it is not built yet."""


@dataclass(frozen=True)
class Document:
    """The document as it leaves, plain and packed."""

    plain: bytes
    packed: bytes
    version: str
    """Changes with the content."""


def build_document() -> Document:
    """Describe every route; this takes a second of work and no database."""
    schema = spectacular_settings.DEFAULT_GENERATOR_CLASS().get_schema(request=None, public=True)
    plain = OpenApiJsonRenderer().render(schema, renderer_context={})
    return Document(plain, gzip.compress(plain, mtime=0), hashlib.sha256(plain).hexdigest()[:32])


class _Shelf:
    """Has the document built once, by a thread of its own, however many ask for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._document: Future[Document] | None = None

    def document(self) -> Document:
        """Return the document, waiting for it if need be. Raises TryAgain."""
        with self._lock:
            future = self._document
            if future is None or (future.done() and future.exception() is not None):
                future = self._document = Future()
                threading.Thread(target=_build, args=[future], name="documentation", daemon=True).start()
        try:
            return future.result(BUILD_SECONDS)
        except TimeoutError as error:
            raise TryAgain from error


def _build(future: "Future[Document]") -> None:
    try:
        future.set_result(build_document())
    except Exception as error:  # for those who wait
        future.set_exception(error)


_shelf = _Shelf()


class DocumentView(NativePublicView):
    """The document, as JSON, for everybody."""

    schema = None

    def get(self, request: Request) -> HttpResponseBase:
        """Return the document, packed where that is accepted, or 304 to whoever has it already."""
        document = _shelf.document()
        is_packed = _accepts_gzip(request.headers.get("Accept-Encoding", ""))
        etag = f'"{document.version}-gzip"' if is_packed else f'"{document.version}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if is_packed:
            headers["Content-Encoding"] = "gzip"
        response = HttpResponse(
            document.packed if is_packed else document.plain,
            content_type=OpenApiJsonRenderer.media_type,
            headers=headers,
        )
        conditional = get_conditional_response(request._request, etag=etag, response=response)
        return conditional or response


def _accepts_gzip(header: str) -> bool:
    """Tell what an Accept-Encoding says of gzip: itself, or else by its `*`."""
    weights = {}
    for part in header.split(","):
        coding, _, parameter = part.partition(";")
        name, _, weight = parameter.partition("=")
        weights[coding.strip().lower()] = weight.strip() if name.strip().lower() == "q" else "1"
    weight = weights.get("gzip", weights.get("*", "0"))
    try:
        return float(weight) > 0
    except ValueError:
        return False


class DocumentationView(SpectacularSwaggerView):
    """Swagger UI over the document."""

    schema = None
    authentication_classes = ()
    permission_classes = ()
    url_name = "openapi"
    # What DRF answers to OPTIONS has no page.
    http_method_names = ("get", "head")

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """Return the page, which shares its window with no other site; the library lets it."""
        response: Any = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response["Cross-Origin-Opener-Policy"] = "same-origin"
        return response

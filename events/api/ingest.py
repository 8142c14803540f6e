"""The base of endpoints that take events, also from pages of other sites."""

from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, ClassVar
from uuid import UUID

from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from config.errors import TryAgain
from config.http.json import StrictJSONParser, parse_json, read_whole
from config.http.rendering import dumps
from config.ids import NO_ID, parse_uuid
from events.api.idempotency import claim_from_request, http_answer
from events.stream.group_commit import SCOPE, ContactReader, Submission, submit
from events.stream.idempotency import Answer
from events.stream.item_formats import ParsedItems
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy
from workspaces.access import Credential, require_access
from workspaces.api.base import SingleFormatNegotiation, WorkspaceAccess, WorkspaceViewSet
from workspaces.authentication.schemes import BearerAuthentication, PageKeyAuthentication, evict_credential
from workspaces.errors import CredentialChanged
from workspaces.models import Workspace

PREFLIGHT_SECONDS = 600
# Each new one is owed to an edit of the credential or its workspace in this very moment.
_ATTEMPTS = 5
_REQUEST_HEADERS = ("Authorization", "Content-Type", "Content-Encoding", "Idempotency-Key")
_ANSWER_HEADERS = (
    "Idempotent-Replayed",
    "Retry-After",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
# As what JSON arrives from senders that name it otherwise, or not: `sendBeacon` sends a string as text/plain and a
# Blob as what its maker said or as nothing, which spares a browser the preflight; curl and some clients send a form.
_UNNAMED = ("", "text/plain", "text/json", "application/octet-stream", "application/x-www-form-urlencoded")


_REMEMBERING = BearerAuthentication(remembers=True)
_PAGE_KEYS = PageKeyAuthentication()


class UnnamedJSONParser(StrictJSONParser):
    """Parse JSON that is not called so; what does not even begin like JSON is of another media type."""

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the parsed body. Raises UnsupportedMediaType besides what StrictJSONParser does."""
        body = read_whole(stream)
        if not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
            raise UnsupportedMediaType(media_type or "")
        return parse_json(body)


class AnyName(SingleFormatNegotiation):
    """Take JSON whatever it is called."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Return the parser of JSON that is called so, of JSON that is not, or None for another type."""
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        if media_type == StrictJSONParser.media_type:
            return StrictJSONParser()
        is_json = media_type in _UNNAMED or media_type.endswith("+json")
        return UnnamedJSONParser() if is_json else None


class IngestMixin(WorkspaceAccess):
    """A view whose POSTs record events: its actions answer with `record`.

    The events, the claim of an Idempotency-Key and the answer kept under it are written together with other
    requests: see `events.stream.group_commit`. A refusal leaves no key.
    Pages of the workspace's origins may post from a browser, and read every answer, but never by a cookie.
    """

    claims_keys = True
    content_negotiation_class: type[SingleFormatNegotiation] = AnyName
    # What a page may send besides, by the wire format.
    request_headers: ClassVar[tuple[str, ...]] = ()

    def record(self, request: Request, submission: Callable[[Request], Submission]) -> HttpResponse:
        """Answer the request once its `submission` is recorded, or give the first answer to it again.

        `submission` returns what the request holds (see `submission_of`), and raises what refuses it.
        """
        for _ in range(_ATTEMPTS):
            try:
                return http_answer(submit(submission(request)))
            except CredentialChanged:
                # Refuses it, if it opens nothing any more; its workspace may merely have been edited.
                self._look_up_credential(request)
        raise TryAgain

    def submission_of(
        self,
        request: Request,
        incoming: Sequence[IncomingEvent],
        schema_policy: SchemaPolicy,
        answer: Callable[[Sequence[Outcome], Mapping[UUID, Any]], Answer],
        *,
        read_contacts: ContactReader | None = None,
        items: ParsedItems | None = None,
    ) -> Submission:
        """Return a submission of this request's; see there. `items`: of a batch, whose events are `incoming`."""
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        credential = request.auth if isinstance(request.auth, Credential) else None
        if credential is not None and credential.is_public:
            incoming = [event.filling_in() for event in incoming]
        return Submission(
            self.workspace.id,
            incoming,
            schema_policy,
            answer,
            read_contacts,
            credential,
            None if key is None else claim_from_request(request, key),
            int(request.META.get("CONTENT_LENGTH") or 0),
            items,
        )

    def _look_up_credential(self, request: Request) -> None:
        """Authenticate the request anew, by what the database says now."""
        if isinstance(request.auth, Credential):
            evict_credential(request.auth)
        self.perform_authentication(request)
        self.workspace = require_access(request, self.kwargs.get(self.workspace_kwarg), SCOPE)

    def get_authenticators(self) -> Any:
        """Take a page's key in the address besides what the wire format takes, and remember bearers for seconds."""
        if not self._is_ingest_route:
            return super().get_authenticators()
        _, *rest = super().get_authenticators()
        # Before the session, whose cookie a browser may add, and which then misses its CSRF token.
        return (_REMEMBERING, _PAGE_KEYS, *rest)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a browser's preflight without a credential, and tell it who may read the other answers."""
        origin = request.META.get("HTTP_ORIGIN", "")
        is_preflight = request.method == "OPTIONS" and bool(origin) and self._is_ingest_route
        response = HttpResponse(status=204) if is_preflight else super().dispatch(request, *args, **kwargs)
        if is_preflight or request.method == "POST":
            if "Vary" in response.headers:
                patch_vary_headers(response, ["Origin"])
            else:
                response.headers["Vary"] = "Origin"
            if origin and self._is_allowed(origin, kwargs):
                self._allow(response, origin, is_preflight)
        if not is_preflight:
            # View and request hold each other: else all that is theirs would wait for the garbage collector.
            self.request.parser_context.clear()
            self.__dict__.clear()
        return response

    def _allow(self, response: HttpResponseBase, origin: str, is_preflight: bool) -> None:
        """Tell a browser that pages of the origin may send, or read the answer."""
        response.headers["Access-Control-Allow-Origin"] = origin
        if is_preflight:
            response.headers["Access-Control-Allow-Methods"] = "POST"
            response.headers["Access-Control-Allow-Headers"] = ", ".join(
                (*_REQUEST_HEADERS, *self.request_headers)
            )
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        else:
            response.headers["Access-Control-Expose-Headers"] = ", ".join(_ANSWER_HEADERS)

    @property
    def _is_ingest_route(self) -> bool:
        """Whether the route has a POST; reading by another one is as everywhere."""
        return "post" in (getattr(self, "action_map", None) or ("post",))

    def _is_allowed(self, origin: str, kwargs: Mapping[str, Any]) -> bool:
        """Tell whether the workspace lists the origin: the credential's, else the path's, else any.

        A preflight has no credential, and a refused one has no workspace.
        """
        credential = getattr(getattr(self, "request", None), "_auth", None)
        workspace = credential.workspace if isinstance(credential, Credential) else None
        if workspace is not None:
            return origin.lower() in workspace.allowed_origins
        listing = Workspace.objects.filter(allowed_origins__contains=[origin.lower()])
        if self.workspace_kwarg in kwargs:
            listing = listing.filter(id=parse_uuid(kwargs[self.workspace_kwarg]) or NO_ID)
        try:
            return "\x00" not in origin and listing.exists()
        except Error:
            # The answer that is there tells what is wrong.
            return False


class IngestViewSet(IngestMixin, WorkspaceViewSet):
    """A viewset all of whose POSTs record events: its actions answer with `record`."""


def json_answer(status: int, data: Any) -> Answer:
    """Return an answer with `data` as its body; None: an empty one."""
    return Answer(status, b"" if data is None else dumps(data))

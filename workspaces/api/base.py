"""The base view of every wire format: authentication, workspace, scopes, rate limits."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string
from rest_framework.exceptions import APIException, NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.request import Empty, Request, WrappedAttributeError
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from config.db.connection_slots import belongs_to
from config.errors import DomainError
from config.http.json import LeanJSONRenderer, StrictJSONParser
from config.ids import NO_ID, parse_uuid
from workspaces.access import Credential, require_access, require_scopes
from workspaces.api.errors import ErrorTable, NotAnObject, exception_handler
from workspaces.authentication.schemes import BearerAuthentication, SessionAuthentication
from workspaces.models import User, Workspace
from workspaces.scopes import Need, missing_scopes
from workspaces.throttles import ThrottleState, hit, throttled


class SingleFormatNegotiation(BaseContentNegotiation):
    """Answer in the one format there is, whatever the Accept header says: none of the vendors answers 406."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        """Return the parser of the request's media type, None for another one (415)."""
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)


class ApiRequest(Request):
    """DRF's request, with at hand what it would look up in Django's each time."""

    # What the stubs leave out.
    _full_data: Any
    _parse: Callable[[], tuple[Any, Any]]

    content_type = ""

    def __init__(self, request: HttpRequest, **options: Any) -> None:
        super().__init__(request, **options)
        self.method, self.META = request.method, request.META
        self.content_type = request.META.get("CONTENT_TYPE", "")

    @property
    def data(self) -> Any:
        """Return the parsed body; none has files. Raises what the parser refuses it with."""
        if self._full_data is Empty:
            try:
                self._data, self._files = self._parse()
            except AttributeError as error:
                # Else it would look as if a request had no data.
                raise WrappedAttributeError(str(error)) from error
            self._full_data = self._data
        return self._full_data


class ErrorTableMixin(APIView):
    """A view that answers every refusal by its `error_table`, and everything in its one format."""

    authentication_classes: Any = (BearerAuthentication, SessionAuthentication)
    permission_classes: Any = ()
    throttle_classes: Any = ()
    parser_classes: Any = (StrictJSONParser,)
    renderer_classes: Any = (LeanJSONRenderer,)
    content_negotiation_class: Any = SingleFormatNegotiation
    # Its POST records events, and keeps the answer under an Idempotency-Key itself.
    claims_keys: ClassVar[bool] = False
    # No answer of DRF's own to OPTIONS: it fits no wire format, so OPTIONS is a 405.
    metadata_class: Any = None
    error_table: ClassVar[ErrorTable]

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Return the request as the view's handlers take it."""
        return ApiRequest(
            request,
            parsers=_instances(tuple(self.parser_classes)),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context={"view": self, "args": args, "kwargs": kwargs},
        )

    def perform_authentication(self, request: Request) -> None:
        """Ask who sends the request, also when that is known."""
        request._authenticate()  # type: ignore[attr-defined]  # the stubs leave it out

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Return the only renderer and its media type."""
        (renderer,) = _instances(self.renderer_classes)
        return renderer, renderer.media_type

    def get_authenticators(self) -> Any:
        """Return what reads the request's credential, in turn; none of them keeps anything of a request."""
        return _instances(self.authentication_classes)

    def get_content_negotiator(self) -> Any:
        """Return what chooses the parser."""
        (negotiator,) = _instances((self.content_negotiation_class,))
        return negotiator

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Return the headers of every answer."""
        key = type(self), tuple(getattr(self, "action_map", None) or ())
        if key not in _allowed:
            _allowed[key] = ", ".join(self.allowed_methods)
        return {"Allow": _allowed[key]}

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the view's headers, and render what is data: there is no template that could want to wait."""
        if isinstance(response, Response):
            (renderer,) = _instances(self.renderer_classes)
            response.content = body = renderer.render(response.data)
            if body:
                response.headers["Content-Type"] = response.content_type or renderer.media_type
            else:
                del response.headers["Content-Type"]
        for name, value in self.headers.items():
            response.headers[name] = value
        return response

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        """Return the handler that reads `error_table`."""
        return exception_handler


class WorkspaceAccess(ErrorTableMixin):
    """A view of one workspace: authenticated, allowed and within its rate before the handler runs.

    `scope`: reading needs `{scope}:read`, writing `{scope}:write`. `scopes` maps single methods to what they need
    instead, divided by spaces, and `action_scopes` single actions of a viewset. `needs` are those that depend on
    what is asked for, which the handler looks at (`need`). The workspace is named by the URL's `workspace_kwarg`;
    a route without it means the credential's own. `vendor_rate` is what `rate_limit="vendor"` stands for.
    A POST with an Idempotency-Key is answered once, unless `repeats_harmlessly` says why that needs no key.
    """

    scope: ClassVar[str] = ""
    scopes: ClassVar[Mapping[str, str]] = {}
    action_scopes: ClassVar[Mapping[str, str]] = {}
    needs: ClassVar[Sequence[Need]] = ()
    workspace_kwarg: ClassVar[str] = "workspace_id"
    vendor_rate: ClassVar[str] = ""
    repeats_harmlessly: ClassVar[str] = ""
    # Fields of an answer to POST that are shown this once, and kept nowhere.
    secrets_shown: ClassVar[tuple[str, ...]] = ()

    workspace: Workspace
    throttle_state: ThrottleState | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, count the request, then open the workspace. Raises what the error table maps."""
        super().initial(request, *args, **kwargs)
        self.check_rate(request)
        workspace_id = kwargs.get(self.workspace_kwarg)
        self.workspace = require_access(request, workspace_id, self.required_scope(request))
        # A UUID is hashed by a function of Python's.
        belongs_to(self.workspace.id.int)
        if "\x00" in request._request.path_info:
            # A text that cannot be stored names nothing, and the database would not even look for it.
            raise NotFound
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is None or request.method != "POST":
            return
        if not self.repeats_harmlessly and not self.claims_keys:
            # What handles the request is looked up only after this, on the instance.
            self.__dict__["post"] = partial(self._answer_once, key, getattr(self, "post", None))

    def _answer_once(
        self, key: str, act: Callable[..., Any] | None, request: Request, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        act = partial(act or self.http_method_not_allowed, request, *args, **kwargs)
        respond_once = import_string(settings.ANSWER_ONCE)
        answer: HttpResponseBase = respond_once(
            request, self.workspace.id, key, act, secrets=self.secrets_shown
        )
        return answer

    def required_scope(self, request: Request) -> str | None:
        """Return the scopes that this request needs, None for any credential of the workspace."""
        action = getattr(self, "action", "")
        return None if action is None else self.scopes_of(request.method or "", action)

    @classmethod
    def scopes_of(cls, method: str, action: str = "") -> str | None:
        """Return the scopes that a method needs, of a viewset with its action; None: any credential's."""
        method = "GET" if method == "HEAD" else method
        own = f"{cls.scope}:{'read' if method == 'GET' else 'write'}" if cls.scope else None
        return cls.action_scopes.get(action, cls.scopes.get(method, own))

    def need(self, need: Need, only: Collection[str] | None = None) -> None:
        """Raise AccessDenied unless the request's credential has what one of `needs` asks for; `only` these of it."""
        wanted = (scope for scope in need.scopes.split() if only is None or scope in only)
        require_scopes(self.request.auth, " ".join(wanted))

    def may(self, scopes: str) -> bool:
        """Tell whether the request's credential has these scopes, divided by spaces."""
        credential = self.request.auth
        if not isinstance(credential, Credential):
            return False
        return scopes in credential.scopes or not missing_scopes(scopes, credential.scopes)

    def check_rate(self, request: Request) -> None:
        """Count the request where its credential has a limit. Raises Throttled."""
        credential = request.auth
        if not isinstance(credential, Credential) or not credential.rate_limit:
            return
        self.throttle_state = hit(
            self.throttle_identity(credential), credential.rate_limit, self.vendor_rate_of(request)
        )
        if self.throttle_state is not None and self.throttle_state.wait_seconds:
            raise throttled(self.throttle_state.wait_seconds)

    def throttle_identity(self, credential: Credential) -> str:
        """Return who shares the budget: by default the credential; a vendor may count by workspace."""
        return credential.key

    def vendor_rate_of(self, request: Request) -> str:
        """Return the documented limit for this request."""
        return self.vendor_rate

    def rate_headers(self, state: ThrottleState) -> dict[str, str]:
        """Return the headers that tell a limited credential its budget, on every answer."""
        return {
            "X-RateLimit-Limit": str(state.limit),
            "X-RateLimit-Remaining": str(state.remaining),
            "X-RateLimit-Reset": str(state.reset),
        }

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the rate headers where a limit holds."""
        if self.throttle_state is not None:
            for name, value in self.rate_headers(self.throttle_state).items():
                response.headers[name] = value
        return super().finalize_response(request, response, *args, **kwargs)


class WorkspaceViewSet(ViewSetMixin, WorkspaceAccess, GenericAPIView[Any]):
    """A viewset of one workspace, over the rows of its model that are the workspace's.

    `not_found` is what refuses an id in the address (`lookup_url_kwarg`) that is none of theirs.
    """

    not_found: ClassVar[type[DomainError] | type[APIException]] = NotFound
    pagination_class: Any = None

    def get_queryset(self) -> Any:
        """Return the workspace's rows; `queryset` may narrow, join and order them."""
        rows: Any = super().get_queryset()
        return rows.in_workspace(self.workspace.id)

    def paginate_queryset(self, queryset: Any) -> list[Any]:
        """Return the page of a queryset, or of the rows that a function gives (see `KeysetPagination`)."""
        paginator: Any = self.paginator
        page: list[Any] = paginator.paginate_queryset(queryset, self.request, view=self)
        return page

    def get_object(self) -> Any:
        """Return the row that the address names. Raises the class's `not_found`."""
        text = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
        row = self.get_queryset().filter(id=parse_uuid(text) or NO_ID).first()
        if row is None:
            raise self.not_found
        return row


def actor_of(request: Request) -> str:
    """Return who asks: a member by name, else the credential."""
    if isinstance(request.user, User):
        return str(request.user)
    return request.auth.key if isinstance(request.auth, Credential) else ""


@cache
def _instances(classes: tuple[type[Any], ...]) -> tuple[Any, ...]:
    return tuple(each() for each in classes)


_allowed: dict[Any, str] = {}
"""By view class and the methods that its route maps, what `Allow` says."""


def object_body(request: Request) -> dict[str, Any]:
    """Return the request's body, which must be a JSON object. Raises NotAnObject or ParseError."""
    if not isinstance(request.data, dict):
        raise NotAnObject
    return request.data

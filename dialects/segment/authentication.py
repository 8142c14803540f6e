"""Write keys: API keys as the clients of Segment, RudderStack and Customer.io's pipelines send them."""

from rest_framework.request import Request

from workspaces.authentication.schemes import Authenticated, BasicKeyAuthentication, refuse


class WriteKeyAuthentication(BasicKeyAuthentication):
    """The write key as the name of a basic header, else as `writeKey` in the body, or a page's key in the address.

    A page can send the latter two without a preflight, so that its origin is looked at here.
    """

    def __init__(self) -> None:
        super().__init__(remembers=True)

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return user and credential; None without a write key. Raises AuthenticationFailed, or what the body is."""
        if request.META.get("HTTP_AUTHORIZATION"):
            return super().authenticate(request)
        secret = request.data.get("writeKey") if isinstance(request.data, dict) else None
        is_in_address = not secret
        if is_in_address:
            secret = request.GET.get("writeKey")
        if not isinstance(secret, str) or not secret:
            return None
        user, credential = self.authenticate_secret(request, secret)
        origin = request.META.get("HTTP_ORIGIN", "").lower()
        if is_in_address and not (origin and credential.is_public):
            refuse()
        if origin and (credential.workspace is None or origin not in credential.workspace.allowed_origins):
            refuse()
        return user, credential

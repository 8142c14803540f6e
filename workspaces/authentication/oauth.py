"""The OAuth 2.0 server's rules: an application acts in one workspace, with at most its own scopes."""

from typing import Any

from django.contrib.auth.hashers import BasePasswordHasher
from django.utils.crypto import constant_time_compare, salted_hmac
from oauth2_provider.scopes import BaseScopes

from workspaces.models import Application, Membership, User
from workspaces.scopes import SCOPES, to_oauth


class ApplicationScopes(BaseScopes):  # type: ignore[misc]  # the library has no annotations
    """Each application may be granted its own scopes; a request that names none gets them all."""

    def get_all_scopes(self) -> dict[str, str]:
        """Return every scope with what it means to a user."""
        return dict(zip(to_oauth(SCOPES), SCOPES.values(), strict=True))

    def get_available_scopes(self, application: Application | None = None, **_: Any) -> list[str]:
        """Return what the application may be granted."""
        return to_oauth(application.scopes) if application is not None else []

    def get_default_scopes(self, application: Application | None = None, **_: Any) -> list[str]:
        """Return what the application is granted when it names no scopes."""
        return self.get_available_scopes(application)


class RandomSecretHasher(BasePasswordHasher):
    """Hash a client secret, which is random: a slow hash would add nothing but time to each token."""

    algorithm = "random_secret"

    def encode(self, password: str, salt: str) -> str:
        """Return `algorithm$salt$hash`."""
        return f"{self.algorithm}${salt}${self._digest(password, salt)}"

    def decode(self, encoded: str) -> dict[str, Any]:
        """Return the parts of an encoded secret."""
        algorithm, salt, digest = encoded.split("$", 2)
        return {"algorithm": algorithm, "salt": salt, "hash": digest}

    def verify(self, password: str, encoded: str) -> bool:
        """Compare in constant time."""
        return constant_time_compare(self.encode(password, self.decode(encoded)["salt"]), encoded)

    def safe_summary(self, encoded: str) -> dict[Any, Any]:
        """Return what may be shown of an encoded secret."""
        return {"algorithm": self.algorithm}

    def harden_runtime(self, password: str, encoded: str) -> None:
        """Do nothing: there is no work factor to even out."""

    def _digest(self, password: str, salt: str) -> str:
        return salted_hmac(salt, password, secret="client-secret", algorithm="sha256").hexdigest()  # noqa: S106


def may_authorize(user: User, client_id: str) -> bool:
    """Tell whether `user` is a member of the workspace in which the application acts."""
    return Membership.objects.filter(user=user, workspace__applications__client_id=client_id).exists()

"""Rows of tenants and access with the least data."""

from functools import cache
from typing import Any

from django.contrib.auth.hashers import make_password
from factory.declarations import LazyAttribute, LazyFunction, Sequence, SubFactory
from factory.django import DjangoModelFactory

from workspaces.models import Membership, Role, User, Workspace
from workspaces.services import CreatedApplication, IssuedKey, create_application, issue_api_key

PASSWORD = "correct horse"


@cache
def hashed_password() -> str:
    """Hash once: the hash is slow on purpose."""
    return make_password(PASSWORD)


class UserFactory(DjangoModelFactory[User]):
    class Meta:
        model = User

    username = Sequence(lambda n: f"user{n}")
    email = LazyAttribute(lambda user: f"{user.username}@example.test")
    password = LazyFunction(hashed_password)


class WorkspaceFactory(DjangoModelFactory[Workspace]):
    class Meta:
        model = Workspace

    name = Sequence(lambda n: f"Workspace {n}")


class MembershipFactory(DjangoModelFactory[Membership]):
    class Meta:
        model = Membership

    workspace = SubFactory(WorkspaceFactory)
    user = SubFactory(UserFactory)
    role = Role.OWNER


def a_key(workspace: Workspace | None = None, **options: Any) -> IssuedKey:
    """Return a key of `workspace`, of a new one by default."""
    return issue_api_key((workspace or WorkspaceFactory.create()).id, "key", **options)


def an_application(workspace: Workspace | None = None, **options: Any) -> CreatedApplication:
    """Return an OAuth client of `workspace`, of a new one by default."""
    return create_application((workspace or WorkspaceFactory.create()).id, "client", **options)


def bearer(secret: str) -> dict[str, str]:
    """Return what Django's test client sends as the authorization header."""
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}

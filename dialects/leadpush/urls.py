"""This vendor's routes: its whole API below its prefix, and at the root what names the workspace."""

from django.urls import URLPattern, URLResolver, include, path, re_path, register_converter

from dialects.leadpush.views import (
    ContactsView,
    ContactView,
    EventsView,
    FieldsView,
    FieldView,
    SubscribeView,
    UnknownRouteView,
    UnsubscribeView,
    UpsertContactView,
)


class ContactConverter:
    """A contact's UUID or identity value, which may have slashes, since servers decode `%2F`.

    It does not end with one: a trailing slash would else turn into a part of the value.
    """

    regex = ".*[^/]"

    def to_python(self, value: str) -> str:
        """Return the value as it is."""
        return value

    def to_url(self, value: str) -> str:
        """Return the value as it is."""
        return value


register_converter(ContactConverter, "leadpush_contact")

# The routes below a contact stand before the contact's own, which matches them too.
_routes: list[URLPattern | URLResolver] = [
    path("contacts/<path:contact>/events", EventsView.as_view()),
    path("contacts", ContactsView.as_view()),
    path("contacts/upsert", UpsertContactView.as_view(), {"contact": "upsert"}),
    path("contacts/<path:contact>/subscribe", SubscribeView.as_view()),
    path("contacts/<path:contact>/unsubscribe", UnsubscribeView.as_view()),
    path("contacts/<leadpush_contact:contact>", ContactView.as_view()),
    path("fields", FieldsView.as_view()),
    path("fields/<str:field>", FieldView.as_view()),
]
_unknown = re_path(r"^", UnknownRouteView.as_view())
_in_workspace = path("workspaces/<str:workspace>/", include(_routes))

urlpatterns: list[URLPattern | URLResolver] = [*_routes, _in_workspace, _unknown]
root_urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include([_in_workspace])),
    re_path(r"^v1/workspaces(?:/|$)", UnknownRouteView.as_view()),
]

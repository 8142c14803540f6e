"""AutoSend's routes, below its prefix and at the root."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from dialects.autosend.contact_lists import ContactListSearchViewSet, ContactListViewSet
from dialects.autosend.custom_fields import CustomFieldViewSet
from dialects.autosend.mails import MailViewSet
from dialects.autosend.projects import ProjectViewSet
from dialects.autosend.viewsets import (
    ContactSearchViewSet,
    ContactViewSet,
    DefinitionViewSet,
    SendViewSet,
    UnknownAutoSendRouteView,
)
from workspaces.api.routers import VendorRouter

_sends, _router = VendorRouter(), VendorRouter()
_sends.register("", SendViewSet, "autosend-event")
_router.register("", DefinitionViewSet, "autosend-definition")
# What stands below `contacts` comes before a contact's own path, which matches it too.
_router.register("", ContactSearchViewSet, "autosend-search")
_router.register("", ContactViewSet, "autosend-contact")
_router.register("", ContactListSearchViewSet, "autosend-list-search")
_router.register("", ContactListViewSet, "autosend-contact-list")
_router.register("", MailViewSet, "autosend-mail")
_router.register("", CustomFieldViewSet, "autosend-custom-field")
_router.register("", ProjectViewSet, "autosend-project")

urlpatterns: list[URLPattern | URLResolver] = [
    *_sends.urls,
    *_router.urls,
    re_path(r"^", UnknownAutoSendRouteView.as_view()),
]
# Only the seed's own path: the rest of this API's paths would collide with another vendor's.
root_urlpatterns: list[URLPattern | URLResolver] = [path("v1/", include(_sends.urls))]

"""AutoSend's routes, below its prefix and at the root."""

from django.urls import path, re_path

from dialects.autosend import views

urlpatterns = [
    path("events/send", views.SendEventView.as_view(), name="autosend-send"),
    path("events", views.DefinitionsView.as_view(), name="autosend-definitions"),
    re_path(
        r"^events/eventName/(?P<name>.*[^/])$", views.DefinitionView.as_view(), name="autosend-definition"
    ),
    path("contacts", views.ContactsView.as_view(), name="autosend-contacts"),
    path("contacts/email", views.UpsertContactView.as_view(), name="autosend-upsert"),
    path("contacts/remove", views.RemoveContactsView.as_view(), name="autosend-remove"),
    path("contacts/bulk-update", views.BulkUpdateView.as_view(), name="autosend-bulk-update"),
    path("contacts/search/emails", views.SearchContactsView.as_view(), name="autosend-search"),
    re_path(
        r"^contacts/email/userId/(?P<user_id>.*[^/])$",
        views.ContactByUserIdView.as_view(),
        name="autosend-contact-by-user-id",
    ),
    path(
        "contacts/<str:contact_id>/unsubscribe-groups",
        views.UnsubscribeGroupsView.as_view(),
        name="autosend-unsubscribe-groups",
    ),
    path("contacts/<str:contact_id>", views.ContactView.as_view(), name="autosend-contact"),
    re_path(r"^", views.UnknownRouteView.as_view()),
]
# Only the seed's own path: the rest of this API's paths would collide with another vendor's.
root_urlpatterns = [
    path("v1/events/send", views.SendEventView.as_view(), name="autosend-root-send"),
]

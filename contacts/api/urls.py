"""The native API's routes on this floor, included under `api/`."""

from django.urls import path

from contacts.api.views import ContactViewSet

urlpatterns = [
    path(
        "workspaces/<str:workspace_id>/contacts",
        ContactViewSet.as_view({"get": "list", "post": "create"}),
        name="contacts",
    ),
    path(
        "workspaces/<str:workspace_id>/contacts/<str:contact_id>",
        ContactViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="contact",
    ),
]

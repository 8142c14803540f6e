"""The native API's routes on this floor, included under `api/`."""

from django.urls import path

from contacts.api.erasure import ErasureViewSet, PersonViewSet
from contacts.api.merges import ContactMergesViewSet, MergeViewSet
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
    path(
        "workspaces/<str:workspace_id>/contacts/<str:contact_id>/merge",
        ContactMergesViewSet.as_view({"post": "create"}),
        name="contact-merge",
    ),
    path(
        "workspaces/<str:workspace_id>/contacts/<str:contact_id>/merges",
        ContactMergesViewSet.as_view({"get": "list"}),
        name="contact-merges",
    ),
    path(
        "workspaces/<str:workspace_id>/contacts/<str:contact_id>/export",
        PersonViewSet.as_view({"get": "export"}),
        name="contact-export",
    ),
    path(
        "workspaces/<str:workspace_id>/contacts/<str:contact_id>/erase",
        PersonViewSet.as_view({"post": "erase"}),
        name="contact-erase",
    ),
    path(
        "workspaces/<str:workspace_id>/erasures/<str:erasure_id>",
        ErasureViewSet.as_view({"get": "retrieve"}),
        name="erasure",
    ),
    path(
        "workspaces/<str:workspace_id>/merges/<str:merge_id>/undo",
        MergeViewSet.as_view({"post": "undo"}),
        name="merge-undo",
    ),
]

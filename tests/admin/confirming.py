"""Saying yes to what the admin asks."""

import re
from html import unescape
from typing import Any

from django.http import QueryDict
from django.test import Client

_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


def is_asking(response: Any) -> bool:
    """Return whether the page asks something before it is done."""
    return response.status_code == 200 and "question" in (response.context or ())


def yes_to(response: Any) -> tuple[str, str]:
    """Return the address and the body of the yes that the page's own form sends."""
    assert is_asking(response), response
    fields = QueryDict(mutable=True)
    for name, value in _HIDDEN.findall(response.text):
        fields.appendlist(unescape(name), unescape(value))
    del fields["csrfmiddlewaretoken"]
    return response.wsgi_request.get_full_path(), fields.urlencode()


def confirm(client: Client, response: Any, **options: Any) -> Any:
    """Say yes, and return what comes of it."""
    address, body = yes_to(response)
    return client.post(address, body, content_type="application/x-www-form-urlencoded", **options)


def post_and_confirm(client: Client, address: str, body: Any, **options: Any) -> Any:
    """Post; if that is asked for, say yes. Return what comes of it."""
    response = client.post(address, body, **options)
    return confirm(client, response, **options) if is_asking(response) else response

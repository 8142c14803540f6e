"""Links between pages of the admin."""

from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString


def link(page: str, identifier: object, text: object) -> SafeString:
    """Return a link to the page of a row."""
    return anchor(reverse(f"admin:{page}", args=[identifier]), text)


def list_link(page: str, text: object, **query: object) -> SafeString:
    """Return a link to a list that is narrowed."""
    return anchor(f"{reverse(f'admin:{page}_changelist')}?{urlencode(query)}", text)


def anchor(url: str, text: object) -> SafeString:
    """Return a link in the admin's colours."""
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)

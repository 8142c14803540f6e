"""Prepare the HTML of an e-mail for sending."""

from __future__ import annotations

import re
from typing import Final

import css_inline
from inscriptis.html_engine import Inscriptis
from inscriptis.model.config import ParserConfig
from lxml.etree import ParserError
from lxml.html import document_fromstring

from campaigns.errors import TemplateFault
from campaigns.messaging.html_markup import address_in, with_attributes

_DECLARATION: Final = re.compile(r"^\s*<\?xml\b[^>]*>")
_TEXT_CONFIG: Final = ParserConfig(display_links=True)
# Nothing is fetched for it: a style sheet elsewhere stays a link.
_INLINER: Final = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)


def text_of(html: str) -> str:
    """Return an e-mail's text part."""
    # Its reader of HTML takes `&copy=` in a link for a sign: links are handed over escaped.
    source = with_attributes(_DECLARATION.sub("", html), "href", lambda _, value: address_in(value))
    if not source.strip():
        return ""
    try:
        tree = document_fromstring(source)
    except ParserError:  # nothing in it but comments, say
        return ""
    # Inscriptis takes what is left of references, in words and links alike, for references again.
    for node in tree.iter():
        if node.tag == "area" and node.get("href"):
            node.tag, node.text = "a", node.get("alt") or node.get("href")
        if isinstance(node.tag, str):
            node.text = node.text and node.text.replace("&", "&amp;")
            if "&" in node.get("href", ""):
                node.set("href", node.get("href").replace("&", "&amp;"))
        node.tail = node.tail and node.tail.replace("&", "&amp;")
    return str(Inscriptis(tree, _TEXT_CONFIG).get_text()).strip()


def inlined(html: str) -> str:
    """Return an e-mail's HTML with the rules of its styles at each element, too. Raises TemplateFault."""
    if "<style" not in html.lower():
        return html
    try:
        return _INLINER.inline(html)
    except css_inline.InlineError as error:
        raise TemplateFault(f"body: {error}") from error

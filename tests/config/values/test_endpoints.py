"""Addresses that are called, and chats: one form each."""

import pytest

from config.values.endpoints import canonical_chat, canonical_url


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("https://Shop.TEST/A?b=C#d", "https://shop.test/A?b=C"),
        (" HTTPS://shop.test:443", "https://shop.test/"),
        ("http://shop.test:80/x", "http://shop.test/x"),
        ("http://shop.test:8080/x", "http://shop.test:8080/x"),
        ("https://straße.test/ü", "https://xn--strae-oqa.test/ü"),
        ("https://a:b@Shop.test/", "https://a:b@shop.test/"),
        ("http://[::1]:81/", "http://[::1]:81/"),
        ("https://", None),
        ("https://[shop", None),
        ("https://shop.test:0/", None),
        ("https://shop.test:x/", None),
        ("https://shop.test:99999/", None),
        ("ftp://shop.test/", None),
        ("javascript:alert(1)", None),
        ("https://shop.test/a b", None),
        ("https://shop.test\\@other.test/", None),
        ("https://shop.test/\nHost: x", None),
        ("https://shop.test/" + "a" * 2_048, None),
        ("shop.test", None),
        ("", None),
    ],
)
def test_an_address_has_one_form(text, form):
    assert canonical_url(text) == form
    assert form is None or canonical_url(form) == form


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (" 4711 ", "4711"),
        ("-100123", "-100123"),
        ("@Shop_News", "@shop_news"),
        *((wrong, None) for wrong in ("", "jane", "0", "007", "12 3", "@ab", "@1abc", "١٢", "1" * 17, "+12")),
    ],
)
def test_a_chat_has_one_form(text, form):
    assert canonical_chat(text) == form

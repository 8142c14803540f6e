"""The next browser of a file knows nothing of what the one before it did, though it is the same process."""

import pytest

from tests.browser.chromium import PHONE, Chromium, needs_chromium

pytestmark = [pytest.mark.slow, needs_chromium]
PAGE = "<!DOCTYPE html><meta name='viewport' content='width=device-width'>"
SEEN = f"return [document.cookie, localStorage.length, sessionStorage.length, innerWidth < {PHONE}]"


def test_the_next_one_knows_nothing_of_the_one_before(httpserver):
    httpserver.expect_request("/").respond_with_data(PAGE, content_type="text/html")
    httpserver.expect_request("/favicon.ico").respond_with_data("")
    nothing = ["", 0, 0, False]
    with Chromium() as browser:
        browser.open(httpserver.url_for("/"))
        assert browser.run(SEEN) == nothing
        browser.size(PHONE - 1, 800)
        browser.run("document.cookie = 'a=1'; localStorage.b = sessionStorage.c = 1; console.error('d')")
        assert browser.run(SEEN) == ["a=1", 1, 1, True]
    with Chromium() as browser:
        browser.open(httpserver.url_for("/"))
        assert browser.run(SEEN) == nothing
        assert not browser.complaints()


def test_one_in_which_something_failed_is_used_by_nobody():
    with pytest.raises(ZeroDivisionError), Chromium() as failed:
        raise ZeroDivisionError
    with Chromium() as browser:
        assert browser._driver is not failed._driver

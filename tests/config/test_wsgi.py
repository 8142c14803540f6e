"""What reaches Django of a body that is sent in chunks, and what the log shows."""

import io
import logging
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.test import RequestFactory

from config.wsgi import with_known_length


def request_in_chunks(body: bytes) -> WSGIRequest:
    """Return what Django makes of a body that granian hands over as a stream without a length."""
    environ: dict[str, Any] = RequestFactory().post("/", content_type="application/json").environ
    environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(body)}
    environ.pop("CONTENT_LENGTH", None)
    return WSGIRequest(with_known_length(environ))


def test_a_body_in_chunks_is_read():
    assert request_in_chunks(b'{"a": 1}').read() == b'{"a": 1}'


def test_of_a_body_in_chunks_that_is_too_large_enough_is_read_to_refuse_it():
    limit = settings.MAX_BODY_BYTES
    assert len(request_in_chunks(b" " * 2 * limit).read()) == limit + 1


def test_a_body_of_known_length_is_left_alone():
    environ = RequestFactory().post("/", b"{}", content_type="application/json").environ
    assert with_known_length(environ) is environ


def test_a_fault_of_ours_shows_its_traceback():
    assert any(isinstance(one, logging.StreamHandler) for one in logging.getLogger("django").handlers)

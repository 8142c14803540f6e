"""What reaches Django of a body, in which time, and what the log shows."""

import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import UnreadablePostError
from django.test import RequestFactory
from rest_framework.exceptions import ParseError

from config.http import bodies
from config.http.bodies import await_body, is_missing
from config.http.json import BodyTimeout, BodyTooLarge, parsing_error_of
from tests.config.runtime.test_supervisor import ROOT, free_port, wait_for

TIMEOUT_SECONDS = 2.0
WEB_THREADS = 2
SERVER_THREADS = 32


def request_in_chunks(body: bytes) -> WSGIRequest:
    """Return what Django makes of a body that granian hands over as a stream without a length."""
    environ: dict[str, Any] = RequestFactory().post("/", content_type="application/json").environ
    environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(body)}
    environ.pop("CONTENT_LENGTH", None)
    return WSGIRequest(await_body(environ))


def request_of_length(body: bytes, length: int | str) -> WSGIRequest:
    environ: dict[str, Any] = RequestFactory().post("/", content_type="application/json").environ
    environ |= {"CONTENT_LENGTH": str(length), "wsgi.input": io.BytesIO(body)}
    return WSGIRequest(await_body(environ))


def test_a_body_in_chunks_is_read():
    assert request_in_chunks(b'{"a": 1}').read() == b'{"a": 1}'


def test_of_a_body_in_chunks_that_is_too_large_enough_is_read_to_refuse_it():
    limit = settings.MAX_BODY_BYTES
    assert len(request_in_chunks(b" " * 2 * limit).read()) == limit + 1


def test_of_a_body_of_known_length_that_is_too_large_enough_is_read_to_refuse_it():
    limit = settings.MAX_BODY_BYTES
    assert len(request_of_length(b" " * 2 * limit, 2 * limit).read(limit + 1)) == limit + 1


@pytest.mark.parametrize("length", ["", "0", "x"])
def test_a_request_without_a_body_is_left_alone(length):
    environ = RequestFactory().get("/").environ | {"CONTENT_LENGTH": length}
    assert await_body(environ) is environ


def test_a_body_that_ends_early_is_what_it_is():
    assert request_of_length(b"{}", 10).read() == b"{}"


def test_a_body_that_ends_early_because_its_time_is_over_cannot_be_read(settings):
    settings.BODY_TIMEOUT_SECONDS = 0
    with pytest.raises(UnreadablePostError):
        request_of_length(b"{}", 10).read()
    assert request_of_length(b"{}", 2).read() == b"{}"


def test_a_body_that_nobody_watches_is_read_and_the_next_one_is_watched(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(bodies, "_watch", bodies._BodyWatcher())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert request_of_length(b"x", 1).read() == b"x"
    assert bodies._watch._thread is None
    assert request_of_length(b"x", 1).read() == b"x"
    assert bodies._watch._thread is not None


def upload_of(body: bytes, length: int | None) -> WSGIRequest:
    environ: dict[str, Any] = RequestFactory().post("/api/workspaces/x/imports").environ
    environ |= {"CONTENT_LENGTH": str(length), "wsgi.input": io.BytesIO(body)}
    if length is None:
        environ |= {"HTTP_TRANSFER_ENCODING": "chunked"}
        environ.pop("CONTENT_LENGTH")
    return WSGIRequest(await_body(environ))


def test_an_upload_is_read_as_it_arrives_beyond_what_other_bodies_may_have(settings):
    settings.MAX_BODY_BYTES = 10
    for length in (1_000_000, None):
        request = upload_of(b"x" * 1_000_000, length)
        assert isinstance(request.environ["wsgi.input"], bodies.UploadBody)
        assert not is_missing(request.environ)
        assert len(request.read(100)) == 100
        # It could not be read again.
        assert is_missing(request.environ)
        assert sum(iter(lambda request=request: len(request.read(300_000)), 0)) == 999_900


def test_an_upload_is_read_up_to_its_limit(settings):
    settings.MAX_UPLOAD_BYTES = 1_000_000
    request = upload_of(b"x" * 3_000_000, None)
    with pytest.raises(UnreadablePostError) as raised:
        list(iter(lambda: request.read(100_000), b""))
    assert isinstance(parsing_error_of(raised.value), BodyTooLarge)


def test_an_upload_that_ends_early_cannot_be_read(settings):
    request = upload_of(b"x" * 1_000, 2_000)
    assert len(request.read(1_000)) == 1_000
    with pytest.raises(UnreadablePostError) as raised:
        request.read(1_000)
    assert isinstance(parsing_error_of(raised.value), ParseError)
    settings.BODY_TIMEOUT_SECONDS = 0
    with pytest.raises(UnreadablePostError) as raised:
        upload_of(b"", 2_000).read(1_000)
    assert isinstance(parsing_error_of(raised.value), BodyTimeout)


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> Iterator[int]:
    """Run one web process as production does."""
    port = free_port()
    environment = {
        **os.environ,
        "BODY_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "WEB_THREADS": str(WEB_THREADS),
        "GRANIAN_BLOCKING_THREADS": str(SERVER_THREADS),
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)  # production has none
    # A body that never comes may hold up its end.
    options = ["--workers-kill-timeout=2", f"--port={port}"]
    command = [sys.executable, "-m", "config.runtime.granian", *options]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            wait_for(lambda: health(port) == 200, 30)
            yield port
        finally:
            process.terminate()


def health(port: int) -> int:
    """Return the status of a request without a body, 0 if there is no answer in time."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS / 2) as connection:
            connection.sendall(b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return status_of(connection.recv(4096))
    except OSError:
        return 0


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def begin_login(port: int, framing: str) -> socket.socket:
    """Begin a request of which the body does not end."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    head = f"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_body_that_never_ends_is_a_408_in_time(port, framing):
    began = time.monotonic()
    with begin_login(port, framing) as connection:
        answer = connection.recv(4096)
        assert connection.recv(1) == b""
    assert TIMEOUT_SECONDS <= time.monotonic() - began < 3 * TIMEOUT_SECONDS
    assert status_of(answer) == 408
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
        "error": "The request body did not arrive in time"
    }


@pytest.mark.slow
def test_a_body_that_trickles_is_a_408_in_time(port):
    with begin_login(port, "Content-Length: 1000") as connection:
        connection.settimeout(0.1)
        began = time.monotonic()
        while (waited := time.monotonic() - began) < 3 * TIMEOUT_SECONDS:
            try:
                connection.sendall(b" ")
                answer = connection.recv(4096)
                break
            except TimeoutError:
                continue
    assert waited >= TIMEOUT_SECONDS - 0.2
    assert status_of(answer) == 408


@pytest.mark.slow
@pytest.mark.parametrize(
    "header",
    [
        'Content-Type: x;"' + ";" * 300_000,
        "Content-Type: x; a*=odd''b",
        "If-None-Match: " + "," * 300_000,
    ],
    ids=lambda header: header[:30],
)
@pytest.mark.parametrize("path", ["/api/openapi", "/livez"])
def test_a_header_that_would_take_long_to_be_read_is_refused(port, header, path):
    """Django looks through some in a time that grows with the square, before it knows what the request is for."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\nConnection: close\r\n\r\n".encode()
        )
        assert status_of(connection.recv(4096)) == 431


@pytest.mark.slow
def test_slow_bodies_hold_no_thread_that_works(port):
    # Those of the test before may be ending still.
    wait_for(lambda: are_overdue(port, 4 * WEB_THREADS), 30)


def are_overdue(port: int, count: int) -> bool:
    """Tell whether so many bodies that never come are told so, and probes are answered meanwhile."""
    with ExitStack() as stack:
        slow = [stack.enter_context(begin_login(port, "Content-Length: 9")) for _ in range(count)]
        assert [health(port) for _ in range(5)] == [200] * 5
        return [status_of(connection.recv(4096)) for connection in slow] == [408] * count


@pytest.mark.slow
def test_even_when_there_are_more_slow_bodies_than_threads_probes_are_answered(port):
    with ExitStack() as stack:
        for _ in range(2 * SERVER_THREADS):
            stack.enter_context(begin_login(port, "Content-Length: 9"))
        assert [health(port) for _ in range(5)] == [200] * 5


def test_of_slow_bodies_that_are_too_many_those_of_the_busiest_address_are_ended(settings):
    settings.SLOW_BODIES = 3
    few, many = ("10.0.0.1", "80"), ("10.0.0.2", "80")
    slow = [bodies._PendingBody(peer, 9) for peer in (few, many, many, many, few, many)]
    assert bodies._in_excess(slow[:3]) == []
    ended = bodies._in_excess(slow)
    assert ended[:2] == [slow[1], slow[2]]
    assert len(ended) == 3


def test_beside_an_upload_that_stands_still_a_faster_one_goes_on(settings):
    settings.BODY_TIMEOUT_SECONDS = 1.0
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        clients = [stack.enter_context(socket.create_connection(server.getsockname())) for _ in range(2)]
        still, fast = (stack.enter_context(server.accept()[0]) for _ in clients)
        body = bodies._PendingBody(("127.0.0.1", str(server.getsockname()[1])), 1_000)
        now = body.began + 0.5
        bodies._note_received([body], now)
        clients[0].sendall(b"x")
        clients[1].sendall(b"x" * 3_000)
        # Nothing was ever sent to either. The kernel counts coarsely since when: three times what is asked for.
        time.sleep(0.3)
        bodies._end_connections_of([body], now + 0.1)
        still.settimeout(5)
        assert [still.recv(9), still.recv(9)] == [b"x", b""]
        assert len(fast.recv(9_000)) == 3_000
        fast.setblocking(False)
        with pytest.raises(BlockingIOError):
            fast.recv(1)


@pytest.mark.slow
def test_an_answer_that_nobody_takes_holds_no_thread(port):
    path = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
    with ExitStack() as stack:
        first = None
        for _ in range(2 * SERVER_THREADS):
            greedy = stack.enter_context(socket.socket())
            first = first or greedy
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            greedy.connect(("127.0.0.1", port))
            greedy.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: health(port) == 200, 10)
        assert first is not None
        assert first.recv(12) == b"HTTP/1.1 200"


def test_a_fault_of_ours_shows_its_traceback():
    assert any(isinstance(one, logging.StreamHandler) for one in logging.getLogger().handlers)

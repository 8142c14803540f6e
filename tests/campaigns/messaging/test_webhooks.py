"""Webhooks to a real HTTP server, and everything that they must not reach."""

import json
import socket
import threading
import time as real_time

import pytest
from pytest_httpserver import HTTPServer
from standardwebhooks.webhooks import Webhook
from werkzeug import Response

from campaigns.messaging import delivery
from campaigns.messaging.channels import http
from campaigns.messaging.channels.webhook import new_secret
from campaigns.messaging.dispatcher import Dispatcher
from campaigns.messaging.queue import WebhookRequest
from campaigns.models import ChannelSettings, Message
from tests.campaigns.messages import a_message, a_template, decided, deliver_ready, use_channel
from tests.campaigns.messaging.test_delivery import wait_for
from tests.contacts.factories import a_contact
from tests.segments.test_races import at_once, paused
from tests.workspaces.factories import WorkspaceFactory


@pytest.fixture
def allowed(settings):
    """Let webhooks reach this machine."""
    settings.WEBHOOK_ALLOW_PRIVATE_ADDRESSES = True


class Internet:
    """Names that lead to public addresses, all of which are this machine; who asked for which is noted."""

    def __init__(self) -> None:
        self.names = {"receiver.test": ["93.184.215.14"], "elsewhere.test": ["93.184.215.15"]}
        self.asked: list[str] = []
        self._getaddrinfo = socket.getaddrinfo

    def getaddrinfo(self, host, port, *args, **kwargs):
        """Answer as a resolver; a name with several addresses gives another one each time."""
        self.asked.append(host)
        if host in self.names:
            addresses = self.names[host]
            host = addresses.pop(0) if len(addresses) > 1 else addresses[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        if host.startswith("93.184."):
            host = "127.0.0.1"
        return self._getaddrinfo(host, port, *args, **kwargs)


@pytest.fixture
def internet(monkeypatch):
    fake = Internet()
    monkeypatch.setattr(socket, "getaddrinfo", fake.getaddrinfo)
    return fake


def deliver(contact, url, body="{}", **more):
    """Return the message of a call that was tried once."""
    message = a_message(contact, WebhookRequest(url, body, **more))
    deliver_ready(contact.workspace_id, "webhook")
    message.refresh_from_db()
    return message


def test_a_call_is_signed(jane, httpserver, allowed):
    httpserver.expect_request("/hook", method="POST").respond_with_data("thanks")

    message = deliver(jane, httpserver.url_for("/hook"), '{"mail": "{{ contact.email }}"}')

    assert message.status == Message.Status.SENT
    (request, _), *_ = httpserver.log
    secret = ChannelSettings.objects.get(channel="webhook").secret
    assert Webhook(secret).verify(request.data, dict(request.headers)) == {"mail": "jane@example.test"}
    assert request.headers["webhook-id"] == str(message.pk)
    assert request.headers["Content-Type"] == "application/json"


def test_two_secrets_sign_while_one_replaces_the_other(workspace, jane, httpserver, allowed):
    old, new = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZA==", "whsec_bmV3LW5ldy1uZXctbmV3LW5ldw=="
    use_channel(workspace, "webhook", secret=f"{new} {old}")
    httpserver.expect_request("/hook").respond_with_data("")

    deliver(jane, httpserver.url_for("/hook"))

    (request, _), *_ = httpserver.log
    for secret in (old, new):
        Webhook(secret).verify(request.data, dict(request.headers))


def test_a_template_goes_to_the_channel_s_address(workspace, jane, httpserver, allowed):
    use_channel(workspace, "webhook", options={"url": httpserver.url_for("/hook")})
    httpserver.expect_request("/hook").respond_with_data("")
    message = a_message(jane, a_template(workspace, '{"id": {{ contact.id | json }}}', channel="webhook"))

    deliver_ready(workspace.id, "webhook")

    assert json.loads(httpserver.log[0][0].data) == {"id": str(jane.id)}
    assert decided(message) == [("sent", "")]


def test_method_and_headers_are_the_step_s(jane, httpserver, allowed):
    httpserver.expect_request("/hook", method="PUT", headers={"X-Key": jane.email}).respond_with_data("")

    message = deliver(
        jane, httpserver.url_for("/hook"), method="put", headers={"X-Key": "{{ contact.email }}"}
    )

    assert message.status == Message.Status.SENT


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503, 301, 302])
def test_whatever_is_no_receipt_is_tried_again_with_the_same_id(jane, httpserver, allowed, time, status):
    httpserver.expect_ordered_request("/hook").respond_with_data(
        "no", status=status, headers={"Location": "/"}
    )
    httpserver.expect_ordered_request("/hook").respond_with_data("yes")
    message = deliver(jane, httpserver.url_for("/hook"))
    assert message.status == Message.Status.QUEUED
    assert message.error == f"{status} no"

    time.go(seconds=10)
    deliver_ready(jane.workspace_id, "webhook")

    message.refresh_from_db()
    assert message.status == Message.Status.SENT
    first, second = (request.headers["webhook-id"] for request, _ in httpserver.log)
    assert first == second


def test_a_receiver_says_when_to_come_again(jane, httpserver, allowed, time):
    httpserver.expect_request("/hook").respond_with_data("", status=503, headers={"Retry-After": "1800"})

    message = deliver(jane, httpserver.url_for("/hook"))

    assert (message.send_at - time.now()).total_seconds() == 1800


def test_a_410_fails_the_message(jane, httpserver, allowed):
    httpserver.expect_request("/hook").respond_with_data("", status=410)

    assert deliver(jane, httpserver.url_for("/hook")).status == Message.Status.FAILED


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fc00::1]",
        "100.64.0.1",
        "0177.0.0.1",
        "127.1",
        "192.0.0.9",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "somebody:secret@127.0.0.1",
        "93.184.215.14@127.0.0.1",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:0a00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fec0::1]",
        "[ff02::1]",
    ],
)
def test_no_call_reaches_a_private_address(jane, httpserver, host):
    message = deliver(jane, f"http://{host}:{httpserver.port}/hook")

    assert message.status == Message.Status.FAILED
    assert "private address" in message.error
    assert httpserver.log == []


def test_a_public_address_is_reached_under_its_name(jane, httpserver, internet):
    httpserver.expect_request("/hook").respond_with_data("")

    message = deliver(jane, f"http://receiver.test:{httpserver.port}/hook")

    assert message.status == Message.Status.SENT
    assert httpserver.log[0][0].headers["Host"] == f"receiver.test:{httpserver.port}"


@pytest.mark.parametrize("status", [307, 308])
def test_no_redirect_leads_to_a_private_address(jane, httpserver, internet, status):
    there = {"Location": f"http://127.0.0.1:{httpserver.port}/secret"}
    httpserver.expect_request("/hook").respond_with_data("", status=status, headers=there)
    httpserver.expect_request("/secret").respond_with_data("secret")

    message = deliver(jane, f"http://receiver.test:{httpserver.port}/hook")

    assert message.status == Message.Status.FAILED
    assert [request.path for request, _ in httpserver.log] == ["/hook"]


def test_a_name_is_looked_up_once_and_means_what_was_checked(jane, httpserver, internet):
    internet.names["receiver.test"] = ["93.184.215.14", "127.0.0.1"]
    httpserver.expect_request("/hook").respond_with_data("")

    message = deliver(jane, f"http://receiver.test:{httpserver.port}/hook")

    assert message.status == Message.Status.SENT
    assert internet.asked.count("receiver.test") == 1


def test_a_name_that_changes_to_a_private_address_is_refused(jane, httpserver, internet, time):
    internet.names["receiver.test"] = ["93.184.215.14", "127.0.0.1"]
    httpserver.expect_request("/hook").respond_with_data("", status=500)
    message = deliver(jane, f"http://receiver.test:{httpserver.port}/hook")

    time.go(seconds=10)
    deliver_ready(jane.workspace_id, "webhook")

    message.refresh_from_db()
    assert message.status == Message.Status.FAILED
    assert len(httpserver.log) == 1


def test_a_name_with_a_private_address_among_others_is_refused(jane, httpserver, internet, monkeypatch):
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
        for address in ("93.184.215.14", "10.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)

    message = deliver(jane, f"http://receiver.test:{httpserver.port}/hook")

    assert message.status == Message.Status.FAILED
    assert "private address" in message.error


def test_a_resolver_that_is_silent_holds_nobody_up(jane, monkeypatch):
    monkeypatch.setattr(http, "LOOK_UP_SECONDS", 0.3)
    goes_on = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: goes_on.wait(60))
    begun = real_time.monotonic()

    message = deliver(jane, "http://receiver.test/hook")

    goes_on.set()
    assert message.status == Message.Status.QUEUED
    assert "looked up" in message.error
    assert real_time.monotonic() - begun < 15


def test_a_resolver_that_is_silent_has_no_more_than_the_whole_call(jane, monkeypatch):
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.3)
    goes_on = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: goes_on.wait(60))
    begun = real_time.monotonic()

    message = deliver(jane, "http://receiver.test/hook")

    goes_on.set()
    assert message.status == Message.Status.QUEUED
    assert "no answer in" in message.error
    assert real_time.monotonic() - begun < 15


def test_addresses_that_are_silent_have_no_more_than_the_whole_call_together(jane, internet, monkeypatch):
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.4)
    many = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"93.184.215.{n}", 80)) for n in range(1, 9)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: many)
    given = []

    def silent(address, timeout, *_, **__):
        given.append(timeout)
        real_time.sleep(min(timeout, 0.15))
        raise TimeoutError

    monkeypatch.setattr("urllib3.util.connection.create_connection", silent)

    message = deliver(jane, "http://receiver.test/hook")

    assert message.status == Message.Status.QUEUED
    assert "no answer in" in message.error
    assert max(given) <= 0.4
    assert given == sorted(given, reverse=True)
    assert len(given) < len(many)


def test_a_name_that_nobody_has_is_tried_again(jane, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    assert deliver(jane, "http://receiver.test/hook").status == Message.Status.QUEUED


def test_a_name_that_none_can_have_is_not_tried_again(jane):
    message = deliver(jane, f"http://{'a' * 64}.test/hook")

    assert message.status == Message.Status.FAILED


@pytest.mark.parametrize("location", ["http://[", "https://[::1", "//:99999999/", "\u00e9//"])
def test_a_redirect_to_no_address_is_a_failure(jane, httpserver, allowed, location):
    headers = {"Location": location}
    httpserver.expect_request("/hook").respond_with_data("", status=307, headers=headers)

    message = deliver(jane, httpserver.url_for("/hook"))

    assert message.status in (Message.Status.QUEUED, Message.Status.FAILED)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://receiver.test/", "gopher://receiver.test/"]
)
def test_a_redirect_leaves_no_way_but_http(jane, httpserver, allowed, location):
    headers = {"Location": location}
    httpserver.expect_request("/hook").respond_with_data("", status=308, headers=headers)

    assert deliver(jane, httpserver.url_for("/hook")).status == Message.Status.FAILED


def test_a_header_is_utf_8(workspace, httpserver, allowed):
    zofie = a_contact(workspace, "zofie@example.test", first_name="Žofie")
    httpserver.expect_request("/hook").respond_with_data("")

    message = deliver(zofie, httpserver.url_for("/hook"), headers={"X-Name": "{{ contact.firstName }}"})

    assert message.status == Message.Status.SENT
    assert httpserver.log[0][0].headers["X-Name"].encode("latin-1").decode() == "Žofie"


def test_a_redirect_repeats_the_call_without_what_is_secret_to_others(jane, httpserver, internet):
    there = {"Location": f"http://elsewhere.test:{httpserver.port}/new"}
    httpserver.expect_request("/hook").respond_with_data("", status=307, headers=there)
    httpserver.expect_request("/new", method="POST").respond_with_data("")

    message = deliver(
        jane, f"http://receiver.test:{httpserver.port}/hook", '{"a": 1}', headers={"X-Key": "secret"}
    )

    assert message.status == Message.Status.SENT
    (first, _), (second, _) = httpserver.log
    assert first.headers["X-Key"] == "secret"
    assert "X-Key" not in second.headers
    assert second.data == b'{"a":1}'
    assert second.headers["webhook-id"] == str(message.pk)


def test_redirects_without_end_are_not_followed(jane, httpserver, allowed):
    httpserver.expect_request("/hook").respond_with_data("", status=307, headers={"Location": "/hook"})

    message = deliver(jane, httpserver.url_for("/hook"))

    assert message.status == Message.Status.QUEUED
    assert len(httpserver.log) == 1 + http.MAX_REDIRECTS


def test_the_environment_s_proxy_is_not_asked(jane, httpserver, internet, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    httpserver.expect_request("/hook").respond_with_data("")

    assert deliver(jane, f"http://receiver.test:{httpserver.port}/hook").status == Message.Status.SENT


def test_an_endless_answer_is_not_read(jane, httpserver, allowed):
    def answer(request):
        return Response((b"x" * 65_536 for _ in range(1_000_000)), status=500)

    httpserver.expect_request("/hook").respond_with_handler(answer)
    begun = real_time.monotonic()

    message = deliver(jane, httpserver.url_for("/hook"))

    assert message.status == Message.Status.QUEUED
    assert len(message.error) < 1_000
    assert real_time.monotonic() - begun < 15
    # The server notices with its next block.
    httpserver.clear()


def test_an_endless_answer_is_cut_off(jane, allowed, monkeypatch):
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        speaker = threading.Thread(target=_drip, args=[server])
        speaker.start()
        begun = real_time.monotonic()

        message = deliver(jane, f"http://127.0.0.1:{server.getsockname()[1]}/hook")

        took = real_time.monotonic() - begun
        speaker.join()
    assert message.status == Message.Status.QUEUED
    assert "no answer in" in message.error
    assert took < 15


def _drip(server):
    """Answer with a header that never ends, a byte at a time, until nobody listens."""
    line, _ = server.accept()
    with line:
        try:
            line.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                line.sendall(b"x")
                real_time.sleep(0.05)
        except OSError:
            return


def test_nobody_at_home_is_tried_again(jane, allowed):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert deliver(jane, f"http://127.0.0.1:{port}/hook").status == Message.Status.QUEUED


@pytest.fixture
def threaded_server():
    """One that serves several at once."""
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.mark.django_db(transaction=True)
def test_a_slow_host_holds_up_no_other(threaded_server, settings, internet):
    workspace = WorkspaceFactory()
    goes_on = threading.Event()
    settings.DELIVERIES_PER_HOST = 2

    def hold(request):
        goes_on.wait(10)
        return Response("")

    threaded_server.expect_request("/slow").respond_with_handler(hold)
    threaded_server.expect_request("/quick").respond_with_data("")
    jane = a_contact(workspace, "jane@example.test")
    slow = WebhookRequest(f"http://receiver.test:{threaded_server.port}/slow")
    quick = WebhookRequest(f"http://elsewhere.test:{threaded_server.port}/quick")
    held = [a_message(jane, slow, priority=9) for _ in range(8)]
    quick_messages = [a_message(jane, quick) for _ in range(8)]
    dispatcher = Dispatcher(threads=8)

    try:
        dispatcher.dispatch(workspace.id, "webhook")

        wait_for(lambda: _count(quick_messages, Message.Status.SENT) == 8)
        assert _count(held, Message.Status.SENDING) == 2
        assert _count(held, Message.Status.QUEUED) == 6
        goes_on.set()
        wait_for(lambda: _count(held, Message.Status.SENT) == 8)
    finally:
        goes_on.set()
        dispatcher.close()


@pytest.mark.django_db(transaction=True)
def test_two_that_claim_at_once_do_not_exceed_a_host_s_limit(settings, monkeypatch):
    settings.DELIVERIES_PER_HOST = 2
    workspace = WorkspaceFactory()
    jane = a_contact(workspace, "jane@example.test")
    use_channel(workspace, "webhook", secret=new_secret())
    messages = [a_message(jane, WebhookRequest("http://receiver.test/hook")) for _ in range(6)]
    arrived, may_go = paused(monkeypatch, delivery, "_claim_allowed")
    claimed = []

    def claim():
        claimed.extend(delivery.claim_messages(workspace.id, "webhook", at_most=2))

    def claim_meanwhile():
        assert arrived.wait(30)
        threading.Timer(0.5, may_go.set).start()
        claim()

    at_once(claim, claim_meanwhile)

    assert len(claimed) == _count(messages, Message.Status.SENDING) == 2


def _count(messages, status):
    return Message.objects.filter(pk__in=[message.pk for message in messages], status=status).count()

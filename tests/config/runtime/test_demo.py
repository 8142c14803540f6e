"""The demo workspace of a first start, and the wait for it to be ready."""

import http.server
import json
import threading
from pathlib import Path

import pytest

from config.runtime import all_in_one
from workspaces.demo import find_or_create_demo
from workspaces.models import User

pytestmark = pytest.mark.django_db


def test_it_is_made_in_a_home_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "demo.json"
    demo = find_or_create_demo(path)
    assert demo is not None
    password = demo["user"].pop("password")
    assert User.objects.get(username=demo["user"]["username"]).check_password(password)
    assert json.loads(path.read_text()) == demo
    assert find_or_create_demo(path) == demo


def test_readiness_is_asked_for_until_it_is_there(monkeypatch):
    monkeypatch.setattr(all_in_one, "FIRST_PAUSE_SECONDS", 0.001)
    asked = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(503 if len(asked) < 4 else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        wait = all_in_one.SlowStepNotice(f"http://127.0.0.1:{server.server_port}")
        wait.begin()
        assert wait.is_over.wait(20)
        server.shutdown()
    assert asked == ["/readyz"] * 4

"""What browsers are told that our pages may do."""

import re
import secrets

import pytest
from django.test import Client

from tests.config.test_settings import run
from tests.workspaces.factories import UserFactory

pytestmark = pytest.mark.django_db


def policy_of(answer):
    directives = answer.headers["Content-Security-Policy"].split("; ")
    return {name: sources.split() for name, _, sources in (one.partition(" ") for one in directives)}


@pytest.mark.parametrize(
    "path", ["/docs", "/admin/", "/admin/login/", "/oauth2/login", "/unsubscribe/x", "/none"]
)
def test_no_page_runs_what_is_written_into_it(path):
    client = Client(headers={"accept": "text/html"})
    client.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    answer = client.get(path)
    policy = policy_of(answer)
    assert "'unsafe-inline'" not in policy["script-src"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert not [one for sources in policy.values() for one in sources if re.match(r"https?:|\*", one)]
    is_admin = path.startswith("/admin")
    assert ("'unsafe-eval'" in policy["script-src"]) == is_admin
    assert ("'unsafe-inline'" in policy["style-src"]) == is_admin
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_each_answer_has_a_nonce_of_its_own():
    answers = [Client().get("/docs") for _ in range(2)]
    nonces = [re.findall('nonce="([^"]+)"', answer.content.decode()) for answer in answers]
    assert all(len(set(found)) == 1 for found in nonces)
    assert nonces[0] != nonces[1]
    for answer, found in zip(answers, nonces, strict=True):
        assert f"'nonce-{found[0]}'" in policy_of(answer)["script-src"]


def test_other_hosts_of_the_domain_are_told_nothing_unless_asked_to():
    show = "from config import settings as s; print(s.SECURE_HSTS_INCLUDE_SUBDOMAINS, s.SECURE_HSTS_PRELOAD)"
    production = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "ERASURE_KEY")}
    production["PRODUCTION"] = "1"
    assert run(show, **production).stdout.split() == ["False", "False"]
    asked = {"SECURE_HSTS_INCLUDE_SUBDOMAINS": "1", "SECURE_HSTS_PRELOAD": "1"}
    assert run(show, **production, **asked).stdout.split() == ["True", "True"]

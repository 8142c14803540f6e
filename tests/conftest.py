"""Fixtures of every test: wake-ups are collected, not published to the broker."""

import gc
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.test import TransactionTestCase
from django.test import utils as test_utils
from django.test.signals import template_rendered
from whitenoise.middleware import WhiteNoiseMiddleware

from config.runtime import background
from events.processing import wake_ups as wakeups
from events.stream import schemas
from events.tasks import runner
from tests import database
from tests.reports import table_of
from workspaces.throttles import reset_limits

MOST_PARAMETERS = 2_000
"""Most parameters of a statement in tests (PostgreSQL takes 65,535): long lists go as arrays."""
# Even while `make run` announces another address.
settings.PUBLIC_URL = "http://localhost:8000"
# For good, not for the length of a test: the publishing thread may be late, and must not meet the real broker
# then.
_published: list[UUID] = []


def _gather(task, workspace_id=None, *arguments, expires_seconds=None):
    """Collect the workspaces to wake up, instead of publishing a task."""
    if task == "events.tasks.apply_effects":
        _published.append(UUID(workspace_id))


background.publish = _gather
# Whatever asks is published, and the thread needs no database: a test may be over when it asks.
wakeups.leases = SimpleNamespace(acquire_message_lease=lambda *_: True, release_lease=lambda *_: None)
# Effects are applied when a test says so.
runner.stay = lambda workspace_id, began: runner.leave(workspace_id)
TransactionTestCase._fixture_teardown = database.empty
_overfull: list[str] = []


def _count_parameters(execute, sql, parameters, many, context):
    number = len(parameters or ()) if not many else max((len(values) for values in parameters), default=0)
    if number > MOST_PARAMETERS:
        _overfull.append(f"{number} parameters: {sql[:500]}")
    return execute(sql, parameters, many, context)


@receiver(connection_created, weak=False)
def _watch_parameters(connection, **_):
    """Count the parameters of every statement of a new connection."""
    if _count_parameters not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count_parameters)


_find_static_files = WhiteNoiseMiddleware.add_files_from_finders
_static_files: dict[tuple[str, str | None], dict[str, object]] = {}


def _find_static_files_once(middleware):
    """Share the static files found: each test client loads the middleware anew, and looking takes 12 ms."""
    place = (middleware.static_prefix, middleware.static_root)
    if place not in _static_files:
        _find_static_files(middleware)
        _static_files[place] = middleware.files
    middleware.files = _static_files[place]


WhiteNoiseMiddleware.add_files_from_finders = _find_static_files_once


def _render(template, context):
    """Show a test client the context of a page, but not again with each template that the page includes.

    Django copies it for every one of them: a hundred times for a page of the admin.
    """
    if context.template is template:
        template_rendered.send(sender=template, template=template, context=context)
    return template.nodelist.render(context)


test_utils.instrumented_test_render = _render
# The default million rounds take a third of a second.
PBKDF2PasswordHasher.iterations = 1


def pytest_collection_finish():
    """Exempt modules and tests from garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Run slow files first, so that no process is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix, django_db_blocker):
    """Create the test database as a copy of a migrated template."""
    with django_db_blocker.unblock():
        database.create_from_template()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Let commits not wait for the disk."""
    with django_db_blocker.unblock():
        database.wait_for_no_disk()


@pytest.fixture(autouse=True)
def wake_ups():
    """Return the workspaces whose wake-ups would be published."""
    _published.clear()
    return _published


@pytest.fixture(autouse=True)
def _few_parameters(request):
    """Fail a test with a statement whose parameters grow with the data."""
    _overfull.clear()
    yield
    assert not _overfull or request.node.get_closest_marker("very_long_rules"), _overfull


@pytest.fixture(autouse=True)
def _no_observers():
    """Clear caches of rows, which are gone after a test."""
    schemas._observed.clear()


@pytest.fixture(autouse=True)
def _fresh_limits():
    """Reset rate limits of sign-in."""
    reset_limits()


def pytest_terminal_summary(terminalreporter):
    """Print the table of outages, collected from all processes."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    outages = [value for report in reports for name, value in report.user_properties if name == "outage"]
    if outages:
        terminalreporter.section("outages")
        terminalreporter.write_line(table_of(outages))


@pytest.fixture
def uploads_folder(settings, tmp_path):
    """Have uploads stored in a folder of the test's own."""
    folder = tmp_path / "uploads"
    options = {**settings.STORAGES["uploads"]["OPTIONS"], "location": str(folder)}
    settings.STORAGES = {**settings.STORAGES, "uploads": {**settings.STORAGES["uploads"], "OPTIONS": options}}
    settings.UPLOADS_FOLDER = folder
    return folder

"""The base of commands over given items: each on its own merits, progress, counts and the exit status."""

import os
import signal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from config.errors import DomainError
from workspaces.management import progress
from workspaces.management.items import ItemCommand


class Numbers(ItemCommand):
    unit = "numbers"
    failure = "Some numbers were refused."

    def __init__(self, *, before=lambda number: None, refused=()):
        super().__init__()
        self.before, self.refused, self.seen = before, refused, []

    def handle(self, *args, **options):
        def process(number):
            self.before(number)
            if number in self.refused:
                raise DomainError("is odd")
            self.seen.append(number)
            return "even" if number % 2 == 0 else "odd"

        self.each(range(6), process, outcomes=["odd", "even"], name="number {}".format, total=6)


def run(command, **options):
    out, err, status = StringIO(), StringIO(), 0
    try:
        call_command(command, stdout=out, stderr=err, **options)
    except CommandError as error:
        status = error.returncode
    return out.getvalue(), err.getvalue(), status


def test_all_are_counted_in_one_line():
    assert run(Numbers()) == ("3 odd, 3 even, 0 refused\n", "", 0)


def test_what_is_refused_is_named_and_the_others_are_done():
    command = Numbers(refused=[1, 3])
    assert run(command) == ("1 odd, 3 even, 2 refused\n", "number 1: is odd\nnumber 3: is odd\n", 1)
    assert command.seen == [0, 2, 4, 5]


def test_it_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_EVERY_SECONDS", 0.0)
    assert "1 of 6 numbers" in run(Numbers())[1]


def test_the_item_under_way_ends_when_it_is_interrupted():
    def interrupt(number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)

    command = Numbers(before=interrupt)
    assert run(command)[2] == 130
    assert command.seen == [0, 1, 2]


@pytest.mark.parametrize("failure", [RuntimeError, KeyError])
def test_what_nobody_expects_is_raised(failure):
    def fail(number):
        raise failure

    with pytest.raises(failure):
        call_command(Numbers(before=fail), stdout=StringIO(), stderr=StringIO())

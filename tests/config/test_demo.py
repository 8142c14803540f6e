"""The demo workspace of a first start."""

import json
from pathlib import Path

import pytest

from config.management.commands.run import find_or_create_demo

pytestmark = pytest.mark.django_db


def test_it_is_made_in_a_home_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "demo.json"
    demo = find_or_create_demo(path)
    assert demo is not None
    assert json.loads(path.read_text()) == demo
    assert find_or_create_demo(path) == demo

import pytest

from tests.native import NativeClient


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)

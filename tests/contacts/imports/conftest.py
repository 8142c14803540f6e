"""Fixtures of imports."""

import pytest


@pytest.fixture
def uploads_folder(settings, tmp_path):
    """Have uploads stored in a folder of the test's own."""
    folder = tmp_path / "uploads"
    options = {**settings.STORAGES["uploads"]["OPTIONS"], "location": str(folder)}
    settings.STORAGES = {**settings.STORAGES, "uploads": {**settings.STORAGES["uploads"], "OPTIONS": options}}
    settings.UPLOADS_FOLDER = folder
    return folder

"""Where files are kept is one of the settings."""

from pathlib import Path

import pytest

from api.settings import SettingsError, load


def test_files_are_kept_under_the_home_unless_a_folder_is_named() -> None:
    assert load({"TRUNKLINE_HOME": "/srv/t"}).media_folder == Path("/srv/t/media")
    named = {"TRUNKLINE_HOME": "/srv/t", "TRUNKLINE_MEDIA_URL": "/mnt/files"}
    assert load(named).media_folder == Path("/mnt/files")


@pytest.mark.parametrize("value", ["s3://bucket/files", "https://files.example", "file:///mnt"])
def test_what_is_no_folder_is_refused_and_not_taken_for_one(value: str) -> None:
    with pytest.raises(SettingsError, match="TRUNKLINE_MEDIA_URL cannot be used"):
        load({"TRUNKLINE_MEDIA_URL": value})


def test_lines_files_are_asked_for_at_another_address_than_its_api() -> None:
    settings = load({"TRUNKLINE_LINE_DATA_API_BASE": "http://127.0.0.1:9"})
    assert settings.media_bases["line"] == "http://127.0.0.1:9"
    assert settings.media_bases["whatsapp"] == settings.whatsapp_api_base

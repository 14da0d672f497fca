"""Where files are kept is one of the settings."""

from pathlib import Path

import pytest

from api.settings import SettingsError, describe, load


def test_files_are_kept_under_the_home_unless_a_folder_is_named() -> None:
    assert load({"TRUNKLINE_HOME": "/srv/t"}).media_folder == Path("/srv/t/media")
    named = {"TRUNKLINE_HOME": "/srv/t", "TRUNKLINE_MEDIA_URL": "/mnt/files"}
    assert load(named).media_folder == Path("/mnt/files")


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        ("s3://acme-files", ("acme-files", "")),
        ("s3://acme-files/", ("acme-files", "")),
        ("s3://acme.files/trunkline/live/", ("acme.files", "trunkline/live")),
    ],
)
def test_or_in_a_bucket(value: str, bucket: tuple[str, str]) -> None:
    settings = load({"TRUNKLINE_MEDIA_URL": value})
    assert settings.media_bucket == bucket
    assert {each.variable: each.value for each in describe(settings)}[
        "TRUNKLINE_MEDIA_URL"
    ] == value.rstrip("/")


@pytest.mark.parametrize(
    "value",
    [
        "https://files.example",
        "file:///mnt",
        "s3://",
        "s3:///files",
        "s3://Acme",
        "s3://acme-files/../other",
        "s3://acme-files//x",
        "s3://key:secret@acme-files",
        "s3://acme-files/a?b",
    ],
)
def test_what_is_neither_a_folder_nor_a_bucket_is_refused(value: str) -> None:
    expected = "TRUNKLINE_MEDIA_URL cannot be used: expected a folder, or a bucket"
    with pytest.raises(SettingsError, match=expected):
        load({"TRUNKLINE_MEDIA_URL": value})


@pytest.mark.parametrize(
    "value", ["s3.example.com", "ftp://s3.example.com", "https://", "https://a:b@s3.example.com"]
)
def test_an_endpoint_is_an_address_and_holds_no_password(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^TRUNKLINE_S3_ENDPOINT cannot be used: expected an"):
        load({"TRUNKLINE_S3_ENDPOINT": value})


@pytest.mark.parametrize("name", ["TRUNKLINE_S3_ACCESS_KEY_ID", "TRUNKLINE_S3_SECRET_ACCESS_KEY"])
def test_half_of_a_pair_of_keys_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(SettingsError, match="are set together or not at all") as refused:
        load({name: "hush"})
    assert "hush" not in str(refused.value)


def test_the_keys_of_a_bucket_are_not_shown() -> None:
    names = ("TRUNKLINE_S3_ACCESS_KEY_ID", "TRUNKLINE_S3_SECRET_ACCESS_KEY")
    shown = {each.variable: each.value for each in describe(load(dict.fromkeys(names, "hush")))}
    assert [shown[name] for name in names] == ["(hidden)", "(hidden)"]


def test_lines_files_are_asked_for_at_another_address_than_its_api() -> None:
    settings = load({"TRUNKLINE_LINE_DATA_API_BASE": "http://127.0.0.1:9"})
    assert settings.media_bases["line"] == "http://127.0.0.1:9"
    assert settings.media_bases["whatsapp"] == settings.whatsapp_api_base

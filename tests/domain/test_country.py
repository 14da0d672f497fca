"""Whose market an address belongs to (L2)."""

import pytest

from domain.country import country_of
from domain.inbound import Address


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("12025550143", "US"),
        ("14165550143", "CA"),
        ("18765550143", "JM"),
        ("17875550143", "PR"),
        ("819012345678", "JP"),
        ("85212345678", "HK"),
        ("886912345678", "TW"),
        ("79161234567", "RU"),
        ("77011234567", "KZ"),
        ("447700900123", "GB"),
        ("447781123456", "GG"),
        ("390669812345", "VA"),
        ("393331234567", "IT"),
        ("919876543210", "IN"),
        ("5511987654321", "BR"),
        ("51987654321", "PE"),
        ("5999123456", "CW"),
        ("21", None),
        ("", None),
        ("9991234567", None),
    ],
)
def test_l2_a_number_belongs_to_the_country_of_its_calling_code(
    number: str, country: str | None
) -> None:
    assert country_of(Address("phone", number)) == country


@pytest.mark.parametrize(
    ("kind", "value", "country"),
    [
        ("bsuid:102290129340398", "US.13491208655302741918", "US"),
        ("bsuid:102290129340398", "13491208655302741918", None),
        ("group:106540352242922", "120363", None),
    ],
)
def test_l2_a_user_id_tells_its_country_where_it_begins_with_one(
    kind: str, value: str, country: str | None
) -> None:
    assert country_of(Address(kind, value)) == country

"""What a viewer is told about owners: stable code, text in their language (S6)."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Request

from api.authentication import Principal
from api.commands.organisations import UserProfile
from api.names import Names
from domain.ownership import OwnedElsewhereNotice
from domain.refusal import OwnedElsewhere, OwnedHere, Refusal

_TEXTS = {
    ("en", True): (
        "This chat is assigned to {owner} in another service."
        " You can still assign it to yourself in this service."
    ),
    ("en", False): (
        "This chat is assigned to another agent in another service."
        " You can still assign it to yourself in this service."
    ),
    ("ja", True): (
        "このチャットは、別のサービスで{owner}に対して割り当てられています。"
        "なお、こちらのサービスで自分に割り当てることは可能です。"
    ),
    ("ja", False): (
        "このチャットは、別のサービスで別の担当者に対して割り当てられています。"
        "なお、こちらのサービスで自分に割り当てることは可能です。"
    ),
}


class NoticeOwner(msgspec.Struct):
    """The owner elsewhere, for a viewer who may know."""

    name: str


class NoticeView(msgspec.Struct, kw_only=True):
    """The notice of S6."""

    code: Literal["owned_elsewhere"] = "owned_elsewhere"
    owner: NoticeOwner | None
    text: str


def language_of(request: Request[Any, Any, Any]) -> str:
    """`ja` where the client prefers Japanese, else `en`."""
    best, best_weight = "en", 0.0
    for part in request.headers.get("accept-language", "").split(","):
        tag, _, quality = part.strip().partition(";q=")
        language = tag.lower().partition("-")[0]
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        if language in ("en", "ja") and weight > best_weight:
            best, best_weight = language, weight
    return best


def notice_view(
    notice: OwnedElsewhereNotice,
    profiles: Mapping[str, UserProfile],
    request: Request[Any, Any, Any],
) -> NoticeView:
    """The notice in the viewer's language."""
    profile = profiles.get(notice.owner) if notice.owner else None
    text = _TEXTS[language_of(request), profile is not None]
    if profile is None:
        return NoticeView(owner=None, text=text)
    return NoticeView(owner=NoticeOwner(profile.name), text=text.format(owner=profile.name))


async def with_names(
    refusal: Refusal, request: Request[Any, Any, Any], principal: Principal, names: Names
) -> Refusal:
    """The refusal with users shown by name, as far as the caller may know them."""
    facts: dict[str, Any]
    owner = refusal.facts.get("owner")
    notice: OwnedElsewhereNotice | None = refusal.facts.get("notice")
    wanted = [user for user in (owner, notice.owner if notice else None) if user]
    profiles = await names.profiles(principal.keys, principal.organisation, wanted)
    if isinstance(refusal, OwnedElsewhere):
        assert notice is not None
        facts = {"notice": notice_view(notice, profiles, request), "since": notice.since}
    else:
        profile = profiles.get(owner) if owner else None
        shown = {"id": owner, "name": profile.name if profile else None} if owner else None
        facts = {"owner": shown}
    if isinstance(refusal, OwnedHere):
        facts["since"] = refusal.facts["since"]
    return type(refusal)(refusal.detail, **facts)

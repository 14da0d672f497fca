"""Messages of every kind that agents may send, made up."""

from collections.abc import AsyncIterator
from typing import Any

from hypothesis import strategies as st

from domain.inbound import Address, Content
from domain.outbound import OutboundFile, OutboundMessage

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
COORDINATES = {"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180)}


async def nothing() -> AsyncIterator[bytes]:
    """The contents of an empty file."""
    return
    yield b""


FILE = OutboundFile(
    mime_type="image/png", byte_count=0, name="a.png", read=nothing, url="https://example.com/a.png"
)


def messages(
    recipient: Address, *, account_id: str, captions: bool, **contents: st.SearchStrategy[Content]
) -> st.SearchStrategy[OutboundMessage]:
    """Of the kinds named, and of those that all platforms have."""
    caption = st.none() | TEXTS if captions else st.none()
    with_file = caption.map(lambda text: Content(text=text))
    kinds: dict[str, st.SearchStrategy[Content]] = {
        "text": TEXTS.map(lambda text: Content(text=text)),
        "location": st.fixed_dictionaries(
            COORDINATES, optional={"name": TEXTS, "address": TEXTS}
        ).map(lambda place: Content(location=place)),
        **dict.fromkeys(("image", "video", "audio"), with_file),
        **contents,
    }

    def message(drawn: tuple[str, Content]) -> OutboundMessage:
        kind, content = drawn
        more: dict[str, Any] = {} if kind in ("text", "location", "sticker") else {"file": FILE}
        return OutboundMessage(
            mark="chat.message",
            account_id=account_id,
            recipient=(recipient,),
            kind=kind,
            content=content,
            **more,
        )

    drawn = [st.tuples(st.just(kind), content) for kind, content in kinds.items()]
    return st.one_of(drawn).map(message)

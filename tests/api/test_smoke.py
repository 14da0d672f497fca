import time

from tests.api.conftest import Trunkline, text_webhook


async def test_a_message_reaches_every_inbox_and_a_reply_is_masked_elsewhere(
    trunkline: Trunkline,
) -> None:
    """Spec S3, S4."""
    org = await trunkline.organisation()
    await org.services("crm", "desk")
    for service in ("crm", "desk"):
        await org.connect(service)
    await trunkline.deliver(text_webhook("hello", wamid="wamid.smoke1", timestamp=int(time.time())))
    await org.settled()
    for service in ("crm", "desk"):
        (chat,) = (await org.get(f"/v1/services/{service}/chats"))["items"]
        assert chat["last_message"]["content"] == {"text": "hello"}
        assert chat["unread"] == 1
    sent = await org.post(
        f"/v1/services/crm/chats/{chat['id']}/messages",
        {"kind": "text", "text": "Hi there"},
        expect=202,
    )
    desk = await org.get(f"/v1/services/desk/chats/{chat['id']}/messages")
    assert desk["items"][0].keys() == {"id", "direction", "at", "status", "masked", "service"}
    assert desk["items"][0]["id"] == sent["id"]


async def test_metrics_say_how_far_projections_are_behind(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    await org.get("/v1/services/crm/chats")
    metrics = (await trunkline.http.get("/metrics")).text
    for name in ("events_behind", "seconds_behind", "parked_organisations"):
        assert f"# TYPE trunkline_projection_{name} gauge" in metrics
    labels = 'build="1",projection="inbox",state="live",version="3"'
    assert f"trunkline_projection_events_behind{{{labels}}} " in metrics

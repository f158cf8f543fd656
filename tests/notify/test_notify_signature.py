from __future__ import annotations

import json
from pathlib import Path

import pytest
from notify_world import SECRET, begin

from dtms_service.notify.channels import delivery_of, signature


def test_the_signature_is_what_openssl_computes() -> None:
    # printf '1767600000.{"v":1}' | openssl dgst -sha256 -hmac 'a secret of both sides'
    expected = "27cd2fff26338d07937cec61ccacb70769152c700eb765407faaa5c8968c634f"
    assert signature("a secret of both sides", "1767600000", b'{"v":1}') == f"v1={expected}"


async def test_a_post_is_signed_over_its_time_and_its_very_bytes(tmp_path: Path) -> None:
    world = await begin(tmp_path)
    world.deliver_to_webhook()
    await world.raise_alert(5)
    await world.settled()
    await world.end()
    (request,) = world.receiver.taken
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-DTMS-Timestamp"] == "1767600000"
    assert request.headers["X-DTMS-Delivery"] == "417-1-1"
    body = json.loads(request.content)
    assert (body["v"], body["sent_at"], body["service"]) == (1, 1_767_600_000, "dtms")
    assert request.headers["X-DTMS-Signature"] == signature(SECRET, "1767600000", request.content)


def test_several_notices_together_have_one_name_that_another_set_does_not_have() -> None:
    def notices(*names: str) -> list[dict[str, dict[str, str]]]:
        return [{"notice": {"id": name}} for name in names]

    assert delivery_of(notices("417-1-1")) == "417-1-1"
    both = delivery_of(notices("417-1-1", "417-2-1"))
    assert both == delivery_of(notices("417-1-1", "417-2-1"))
    assert both != delivery_of(notices("417-1-1", "417-2-2"))
    assert len(both) == 32


@pytest.mark.parametrize(
    "changed", [("1767600001", b'{"v":1}'), ("1767600000", b'{"v":2}'), ("176760000", b'0.{"v":1}')]
)
def test_another_time_or_another_body_has_another_signature(changed: tuple[str, bytes]) -> None:
    assert signature(SECRET, *changed) != signature(SECRET, "1767600000", b'{"v":1}')
    assert signature(SECRET + "!", "1767600000", b'{"v":1}') != signature(SECRET, "1767600000", b'{"v":1}')

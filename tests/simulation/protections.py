"""What a run can be told to do without, and which invariant must then object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from callers import SimulatedClient
from engine_world import World

from dtms_service.domain.admission import Registration
from dtms_service.domain.orders import Order
from dtms_service.domain.outcome import Outcome, Refused, Unknown
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import IntentState


def _nothing(_: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Protection:
    """``breaks``: how the objection begins; ``seeds``: runs of which one at least must break it."""

    breaks: str
    seeds: Sequence[int]
    service: Callable[[World], None] = _nothing
    client: Callable[[SimulatedClient], None] = _nothing


def _orders_are_not_written_first(world: World) -> None:
    commit = world.ledger.commit

    async def forgetful(batch: Batch) -> int:
        kept = tuple(i for i in batch.intents if i.state is not IntentState.SENDING)
        return await commit(replace(batch, intents=kept))

    world.ledger.commit = forgetful  # type: ignore[method-assign]


def _no_answer_is_a_no(world: World) -> None:
    gateway = world.dtms._terminal
    send = gateway.send

    async def sure(order: Order) -> Outcome[Any]:
        outcome = await send(order)
        return Refused(outcome.code, outcome.detail, 10006) if isinstance(outcome, Unknown) else outcome

    gateway.send = sure  # type: ignore[method-assign]


def _claims_are_not_compared(world: World) -> None:
    register = world.dtms.register

    async def trusting(registrations: Sequence[Registration]) -> Any:
        return await register([replace(each, side=None) for each in registrations])

    world.dtms.register = trusting  # type: ignore[method-assign]


def _files_go_before_the_answer(client: SimulatedClient) -> None:
    kept = client.outbox._kept

    def careless(item: Any, file: Any, *args: Any, **more: Any) -> Any:
        answer = kept(item, file, *args, **more)
        if file is not None:
            file.remove()
        return answer

    client.outbox._kept = careless  # type: ignore[method-assign]


PROTECTIONS: Mapping[str, Protection] = {
    "an order is committed before it is sent": Protection("C-19", (0,), service=_orders_are_not_written_first),
    "an order without an answer is not taken for refused": Protection("C-12", (0, 2, 5), service=_no_answer_is_a_no),
    "claims are compared with the terminal": Protection("I-6", (0, 2), service=_claims_are_not_compared),
    "a file stays until the service has answered": Protection("I-1", (2, 0), client=_files_go_before_the_answer),
}

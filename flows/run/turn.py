"""Lock a cluster for one run at a time: deploy, promote, rollback, sweep, scale-down, wake, teardown.

The lock is a Prefect variable named after the cluster: the server's database has each name once, and it outlives a
restart of the server. Its value names the holder (holder.py), who renews it every few seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.client.schemas.objects import Variable
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed
from prefect.types import KeyValueLabels

from flows.run.holder import BEAT_SECONDS, ENDED_SECONDS, LOST_SECONDS, Holder, Verdict, judge
from flows.run.timeline import ASKED_LABEL, WAITED_LABEL
from tasks.records.environment import Environment
from tasks.records.errors import ClusterBusy, Interrupted, StateLocked
from tasks.records.owner import this_run
from tasks.records.progress import SHOWN
from tasks.records.stop import STOP

PATIENCE_SECONDS = 3600.0
LOOK_SECONDS = 6.0
T = TypeVar("T")
BUSY_SECONDS = (0.05, 0.1, 0.2, 0.4)


@contextmanager
def turn(
    environment: Environment, patience: float = PATIENCE_SECONDS, *, give_way: bool = False
) -> Iterator[None]:
    """Hold the cluster of `environment` while the block runs; a run that loses it is stopped.

    Raises ClusterBusy after `patience` seconds, with `give_way` as soon as the holder is heard of; StateLocked
    where another run took the turn meanwhile.
    """
    name = f"slipway-turn-{environment.cluster.name}"
    me = Holder.of(flow_run.get_id() or "", flow_run.get_name() or "", this_run(time.time()))
    with get_client(sync_client=True) as client:
        asked = time.time()
        held, waited = _acquire(client, name, me, patience, give_way)
        if me.run:
            labels: KeyValueLabels = {ASKED_LABEL: asked, WAITED_LABEL: waited}
            _insist(lambda: client.update_flow_run_labels(UUID(me.run), labels))
        beating = _Beating(held, me)
        try:
            with beating.going_on():
                yield
        finally:
            _give_back(client, held)
            if beating.lost:
                STOP.clear()
                raise StateLocked(
                    f"this run lost its turn on {environment.cluster.name} and was stopped: {beating.lost}",
                    next_command=f"prefect variable inspect {name}",
                )


def _acquire(
    client: SyncPrefectClient, name: str, me: Holder, patience: float, give_way: bool
) -> tuple[UUID, float]:
    """The variable that is ours now, and the seconds it was waited for; 0 where nobody held it."""
    began, seen = time.monotonic(), _Seen()
    mine = VariableCreate(name=name, value=asdict(me), tags=["slipway"])
    refused = told = False
    while True:
        if seen.held is None:
            try:
                made = _insist(lambda: client.create_variable(mine))
                return made.id, time.monotonic() - began if refused else 0.0
            except ObjectAlreadyExists:
                refused = True
        seen.look(client.read_variable_by_name(name), time.monotonic())
        if seen.held is None or _take_over(client, seen, me):
            seen.held = None
            continue
        if not told:
            get_run_logger().info("%s: waiting for my turn", seen.told(), extra=SHOWN)
            told = True
        if time.monotonic() >= began + patience or (give_way and seen.beats):
            raise ClusterBusy(
                seen.told() if give_way else f"{seen.told()} for {patience:.0f} s",
                evidence=[f"{name}: {seen.held.value}"],
                next_command=f"prefect variable inspect {name}",
            )
        if STOP.wait(LOOK_SECONDS):
            raise Interrupted(
                "interrupted while it waited for its turn", next_command="run the same command again"
            )


@dataclass
class _Seen:
    """What a waiter knows of the turn: the variable, its holder, and since when no beat came."""

    held: Variable | None = None
    holder: Holder | None = None
    since: float = 0.0
    quiet: float = 0.0
    # how often it was heard of while this run waited
    beats: int = 0

    def look(self, held: Variable | None, now: float) -> None:
        holder = Holder.read(held.value) if held else None
        if holder != self.holder or self.held is None:
            self.since = now
            self.beats += self.held is not None
        self.held, self.holder, self.quiet = held, holder, now - self.since

    def told(self) -> str:
        return f"{self.holder.name if self.holder else 'another run'} works on this cluster"


def _take_over(client: SyncPrefectClient, seen: _Seen, me: Holder) -> bool:
    """Remove the turn of a holder that works no more, and mark its run Crashed where it has not ended."""
    assert seen.held and seen.holder  # noqa: S101
    holder, mine = seen.holder, seen.holder.run == me.run
    alive = holder.lives_on(this_run(time.time()))
    over = mine or (alive is None and seen.quiet >= ENDED_SECONDS and _is_over(client, holder))
    verdict = judge(alive=alive, quiet=seen.quiet, over=over)
    if verdict == "wait":
        return False
    get_run_logger().info("%s %s: taking over from it", holder.name, _SAID[verdict], extra=SHOWN)
    # a retry has the run of its own earlier attempt
    if holder.run and not mine and not _is_over(client, holder):
        client.set_flow_run_state(UUID(holder.run), Crashed(message=f"it {_SAID[verdict]}"), force=True)
    _delete(client, seen.held.id)
    return True


_SAID: dict[Verdict, str] = {
    "ended": "has ended",
    "killed": "was killed",
    "silent": "has not been heard of",
}


def _is_over(client: SyncPrefectClient, holder: Holder) -> bool:
    """Whether the holder's flow run is in a final state, or was deleted."""
    if not holder.run:
        return False
    try:
        state = client.read_flow_run(UUID(holder.run)).state
    except ObjectNotFound:
        return True
    return state is not None and state.is_final()


def _delete(client: SyncPrefectClient, held: UUID) -> None:
    """Give the turn away. By its id: what another run holds meanwhile has another."""
    try:
        _insist(lambda: client.request("DELETE", "/variables/{id}", path_params={"id": held}))
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise


def _insist(ask: Callable[[], T]) -> T:
    """Ask again soon where the server is busy (503), at last as patiently as Prefect's client does.

    A server on SQLite refuses a write at once while it writes something else (read in 3.8.8: a transaction that read
    before it writes), and the client's first pause is 2 s.
    """
    for pause in BUSY_SECONDS:
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                return ask()
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                raise
        except httpx.TransportError:
            break
        time.sleep(pause)
    return ask()


def _give_back(client: SyncPrefectClient, held: UUID) -> None:
    """Delete the turn at the end of a run; without a server it goes to the next run, once this process has ended."""
    try:
        _delete(client, held)
    except (httpx.HTTPError, OSError) as error:
        get_run_logger().warning("the turn could not be given back: %s", error, extra=SHOWN)


@dataclass
class _Beating:
    """Renews the turn from a thread of its own; stops this run where the turn is gone."""

    held: UUID
    me: Holder
    lost: str = ""
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self._renew, args=(get_run_logger(),), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(BEAT_SECONDS)

    def _renew(self, logger: Any) -> None:
        renewed = time.monotonic()
        with get_client(sync_client=True) as client:
            while not self._over.wait(BEAT_SECONDS):
                self.me = replace(self.me, beat=self.me.beat + 1)
                update = VariableUpdate(value=asdict(self.me)).model_dump(mode="json", exclude_unset=True)
                try:
                    client.request("PATCH", "/variables/{id}", path_params={"id": self.held}, json=update)
                    renewed = time.monotonic()
                except (httpx.HTTPError, OSError) as error:
                    gone = (
                        isinstance(error, httpx.HTTPStatusError)
                        and error.response.status_code == httpx.codes.NOT_FOUND
                    )
                    if gone or time.monotonic() - renewed >= LOST_SECONDS:
                        self.lost = "another run took it" if gone else f"Prefect does not answer: {error}"
                        logger.warning("lost the turn on this cluster: %s; stopping", self.lost, extra=SHOWN)
                        STOP.ask("lost")
                        return

"""Put stand-ins in the places of the tasks of deploy and rollback, in the process of a flow run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prefect.flow_engine

import flows.run.stages
import flows.run.unfinished
from flows.run import turn, watch
from tasks.cloud.processes import run
from tasks.releases.records import Approval
from tasks.task import SETTINGS, task
from tests.support.reports import a_release
from tests.support.stage import RESULTS, SITE, STAGED
from tests.support.standin.world import World

NEW = "r1"
# Prefect takes none below 30 s; tests/support/platform.py shortens the automation that waits for them alike
HEARTBEAT_SECONDS = 3


def stand_in(names: dict[str, Any]) -> None:
    """Nothing of a run touches AWS, a hub or a cluster any more; every stage passes through the world.

    Args:
        names: the globals of the flow's module.
    """
    does: dict[str, Callable[..., Any]] = {
        "apply_cluster": _terraform,
        "stage_model": lambda *of: World.here().pass_through("staging"),
        "warm_cache": lambda *of: World.here().pass_through("warming"),
        "roll_out": _roll_out,
        "validate": lambda *of: World.here().pass_through("validation"),
        "mark_proven": _mark_proven,
        "undo": _undo,
        "remove_serving": lambda *of: World.here().log("teardown", "begin"),
    }
    more: dict[str, Any] = {
        "install_addon": "installed",
        "check_load": None,
        "inspect_model": None,
        "read_remains": (None, SITE),
        "confirm": "",
        "read_infrastructure": SITE,
        "list_served": [],
        "proven_release": a_release(),
        "inspect_proven": (None, STAGED),
        "check_evidence": None,
        "destroy_cluster": [],
        "remove_serving": None,
        "remove_claims": None,
        "uninstall_addons": None,
        "state_bucket_is_there": False,
        "price_storage": [],
    }
    stands_in = {name: _task(name, does.get(name), result) for name, result in {**RESULTS, **more}.items()}
    stands_in |= {
        "pin_image": task(name="pin_image", **SETTINGS)(lambda model, environment: model),
        "manifests": lambda *of: [],
        "settled": lambda model, inspection: model,
        "is_unfinished": lambda *of: World.here().read().rolling is not None,
        "unfinished_models": lambda *of: ["tiny-llama"] if World.here().read().rolling else [],
    }
    stands_in |= {
        "preview_changes": task(name="preview_changes", **SETTINGS)(_plan),
        "list_inventory": task(name="list_inventory", **SETTINGS)(_inventory),
    }
    for place in (vars(flows.run.stages), vars(flows.run.unfinished), names):
        place.update({name: task for name, task in stands_in.items() if name in place})
    prefect.flow_engine.MINIMUM_HEARTBEAT_INTERVAL = HEARTBEAT_SECONDS
    engine: Any = prefect.flow_engine.BaseFlowRunEngine
    engine.heartbeat_seconds = property(lambda self: HEARTBEAT_SECONDS)
    turn.LOOK_SECONDS = watch.LOOK_SECONDS = 1.0


def _task(name: str, does: Callable[..., Any] | None, result: Any) -> Any:
    def stage(*values: Any) -> Any:
        if does:
            does(*values)
        return result

    return task(name=name, **SETTINGS)(stage)


def _plan(*of: Any) -> list[dict[str, str]]:
    """What world/plan says would change, a resource a line."""
    file = World.here().folder / "plan"
    lines = file.read_text().splitlines() if file.exists() else []
    return [{"stack": "cluster", "action": "update", "resource": line} for line in lines]


def _inventory(*of: Any) -> list[str]:
    """A cluster, until a teardown has begun to take it away."""
    world = World.here()
    gone = [entry for entry in world.entries() if entry.stage == "teardown"]
    return [] if gone else ["cluster slipway-guarded"]


def _terraform(*of: Any) -> None:
    world = World.here()
    world.log("terraform", "begin")
    try:
        run([sys.executable, str(Path(__file__).with_name("terraform.py")), str(world.folder)], timeout=120)
    except BaseException:
        world.log("terraform", "stopped")
        raise
    world.log("terraform", "end")


def _roll_out(*of: Any) -> None:
    world = World.here()
    serving = world.read()
    serving.live = serving.rolling = NEW
    world.write(serving)
    world.pass_through("rollout")


def _mark_proven(*of: Any) -> None:
    world = World.here()
    if isinstance(of[-1], Approval):
        (world.folder / "approval.json").write_text(of[-1].model_dump_json())
    serving = world.read()
    serving.serving, serving.rolling = NEW, None
    world.write(serving)
    world.log("proof", "end")


def _undo(*of: Any) -> None:
    world = World.here()
    serving = world.read()
    if serving.rolling:
        serving.live, serving.rolling = serving.serving, None
        world.write(serving)
        world.log("undo", "end")

"""Put stand-ins in the places of the tasks of deploy and rollback, in the process of a flow run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import prefect.flow_engine
from prefect import Task

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


# the stages' modules: what a flow imports from one of them touches AWS, a hub or a cluster
STAGE = re.compile(r"tasks\.\w+\.task")
# reads the project's files and nothing else
REAL = frozenset({"read_addons"})
# in branches that no run of these flows takes; to call one is an error
NOT_REACHED = frozenset(
    {
        "ask_beside",
        "delete_volumes",
        "destroy_storage",
        "judge_idle",
        "keep_starts",
        "keep_wrong_answers",
        "leave_cluster",
        "no_gpu_nodes",
        "prove_answers",
        "put_back",
        "replicas_to_zero",
    }
)


def stand_in(names: dict[str, Any]) -> None:
    """Replace what a run would touch AWS, a hub or a cluster by; every stage passes through the world.

    Args:
        names: the globals of the flow's module.
    """
    places = reached(names)
    if missing := without_stand_in(places):
        raise LookupError(f"tests/support/standin/tasks.py has no stand-in for {', '.join(missing)}")
    stands_in = stand_ins()
    for place in places:
        place.update({name: stands_in[name] for name in [*from_stages(place)] if name in stands_in})
    prefect.flow_engine.MINIMUM_HEARTBEAT_INTERVAL = HEARTBEAT_SECONDS
    engine: Any = prefect.flow_engine.BaseFlowRunEngine
    engine.heartbeat_seconds = property(lambda self: HEARTBEAT_SECONDS)
    turn.LOOK_SECONDS = watch.LOOK_SECONDS = 1.0


def reached(names: dict[str, Any]) -> list[dict[str, Any]]:
    """These globals, and those of each module of flows/ that something in them comes from."""
    places, seen = [names], {names["__name__"]}
    for place in places:
        for value in [*place.values()]:
            module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            if isinstance(module, str) and module.startswith("flows.") and module not in seen:
                seen.add(module)
                places.append(vars(sys.modules[module]))
    return places


def without_stand_in(places: Iterable[Mapping[str, Any]]) -> list[str]:
    """What comes from a stage's module and is neither replaced nor named as real."""
    known = REAL | {*stand_ins()}
    return sorted({name for place in places for name in from_stages(place) if name not in known})


def from_stages(names: Mapping[str, Any]) -> Iterator[str]:
    """The names of tasks and functions that were imported from a stage's module."""
    for name, value in names.items():
        function = value.fn if isinstance(value, Task) else value
        if callable(function) and STAGE.fullmatch(getattr(function, "__module__", None) or ""):
            yield name


def stand_ins() -> dict[str, Any]:
    """What each task or function of a stage is replaced by, by the name that flows call it."""
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
    results: dict[str, Any] = {
        **RESULTS,
        "install_addon": "installed",
        "confirm": "",
        "check_load": None,
        "check_webhook": None,
        "inspect_model": None,
        "read_remains": (None, SITE),
        "list_served": [],
        "meter_instances": 0.0,
        "proven_release": a_release(),
        "inspect_proven": (None, STAGED),
        "check_evidence": None,
        "destroy_cluster": [],
        "remove_serving": None,
        "remove_claims": None,
        "remove_gpu_nodes": None,
        "uninstall_addons": None,
        "state_bucket_is_there": False,
        "price_storage": [],
    }
    return {
        **{name: _task(name, does.get(name), result) for name, result in results.items()},
        **{name: _not_reached(name) for name in NOT_REACHED},
        "pin_image": task(name="pin_image", **SETTINGS)(lambda model, environment: model),
        "take_measured": task(name="take_measured", **SETTINGS)(lambda model, *of: model),
        "preview_changes": task(name="preview_changes", **SETTINGS)(_plan),
        "list_inventory": task(name="list_inventory", **SETTINGS)(_inventory),
        "preview_of_alerts": lambda *of: [],
        "preview_of_rollout": lambda *of: [],
        "preview_of_warming": lambda *of: [],
        "settled": lambda model, inspection: model,
        "is_unfinished": lambda *of: World.here().read().rolling is not None,
        "unfinished_models": lambda *of: ["tiny-llama"] if World.here().read().rolling else [],
    }


def _not_reached(name: str) -> Any:
    def called(*of: Any) -> Any:
        raise AssertionError(f"{name} was called, which has no stand-in: tests/support/standin/tasks.py")

    return task(name=name, **SETTINGS)(called)


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

"""moto's tables of instance types and of where they are offered: read when somebody asks.

moto reads them while it is imported, the offerings for every region: 75 MB of objects and half a second. A sandbox asks
for those of one region, or for none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import moto.utilities.utils as resources

_TYPES = "ec2/resources/instance_types.json"
_OFFERINGS = "ec2/resources/instance_type_offerings"  # LOCATION TYPE/REGION.json.gz, in moto 5
Load = Callable[[str], Any]


class Offerings(dict[str, list[dict[str, Any]]]):
    """The offerings of one location type by region, in the place of moto's own table: a region comes at its first look."""

    def __init__(self, location_type: str, load: Load) -> None:
        super().__init__()
        self._location_type, self._load = location_type, load

    def __missing__(self, region: str) -> list[dict[str, Any]]:
        """Raises KeyError for a region moto has no table of."""
        try:
            rows = self._load(f"{_OFFERINGS}/{self._location_type}/{region}.json")
        except FileNotFoundError:
            raise KeyError(region) from None
        self[region] = [row | {"LocationType": self._location_type} for row in rows]
        return self[region]

    def get(self, region: str, default: Any = None) -> Any:
        try:
            return self[region]
        except KeyError:
            return default


class _Types:
    """A class attribute that fills moto's table, and gives way to the list made of it, when it is first read."""

    def __init__(self, module: Any, load: Load) -> None:
        self._module, self._load = module, load

    def __get__(self, _instance: object, _owner: type) -> list[Any]:
        module = self._module
        module.INSTANCE_TYPES.update(self._load(_TYPES))
        module.INSTANCE_FAMILIES.extend({name.split(".")[0] for name in module.INSTANCE_TYPES})
        found = [module.InstanceType(name) for name in module.INSTANCE_TYPES]
        module.InstanceTypeBackend.instance_types = found
        return found


def read_on_demand() -> None:
    """Import moto's EC2 with both tables empty, to be filled later. Call before anything else imports it."""
    load: Load = resources.load_resource
    empty = {_TYPES: dict, _OFFERINGS: list}

    def load_no_table(name: str) -> Any:
        table = next((make for start, make in empty.items() if name.startswith(start)), None)
        return load(name) if table is None else table()

    resources.load_resource = load_no_table
    try:
        from moto.ec2.models import instance_types
    finally:
        resources.load_resource = load
    # Others imported the tables by name: they are filled in place, never replaced.
    for location_type in instance_types.INSTANCE_TYPE_OFFERINGS:
        instance_types.INSTANCE_TYPE_OFFERINGS[location_type] = Offerings(location_type, load)
    instance_types.InstanceTypeBackend.instance_types = _Types(instance_types, load)

"""The driver's own objects: CSIDriver once it is installed, and a CSINode a node that names it."""

from __future__ import annotations

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import Controller, World
from slipway_sandbox.controllers.objects import NODES, Key, Object, Resource, labels_of, name_of, uid_of
from slipway_sandbox.controllers.writes import Create, Patch
from slipway_sandbox.nodes.ebs.driver import EbsDriver
from slipway_sandbox.nodes.ebs.requests import DRIVER
from slipway_sandbox.nodes.node_objects import ZONE_LABEL

CSI_NODES = Resource("storage.k8s.io/v1", "csinodes", "CSINode", namespaced=False)
CSI_DRIVERS = Resource("storage.k8s.io/v1", "csidrivers", "CSIDriver", namespaced=False)
LOOK_SECONDS = 2.0
# What the driver allows on most Nitro instances: 28 attachments, less the root volume and one network interface.
VOLUMES_A_NODE = 26

CSI_DRIVER: Object = {
    "metadata": {"name": DRIVER, "labels": {"app.kubernetes.io/name": "aws-ebs-csi-driver"}},
    "spec": {
        "attachRequired": True,
        "podInfoOnMount": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "volumeLifecycleModes": ["Persistent"],
    },
}


def csi_node(node: Object, *, installed: bool) -> Object:
    """The CSINode of a node, with the driver's registration where it is installed."""
    instance = node["spec"].get("providerID", "").rpartition("/")[2]
    driver = {
        "name": DRIVER,
        "nodeID": instance,
        "topologyKeys": ["kubernetes.io/os", "topology.ebs.csi.aws.com/zone", ZONE_LABEL],
        "allocatable": {"count": VOLUMES_A_NODE},
    }
    owner = {"apiVersion": "v1", "kind": "Node", "name": name_of(node), "uid": uid_of(node)}
    return {
        "metadata": {"name": name_of(node), "ownerReferences": [owner]},
        "spec": {"drivers": [driver] if installed else []},
    }


class Registrar(Controller):
    component = "csi-node-driver-registrar"
    needs = (NODES, CSI_NODES)

    def __init__(self, world: World, driver: EbsDriver) -> None:
        super().__init__(world)
        self._driver = driver

    def wire(self) -> None:
        self.watch_own(NODES)
        self.watch_own(CSI_NODES)

    async def reconcile(self, key: Key) -> None:
        node = self.world.store(NODES).get(*key)
        if node is None or ZONE_LABEL not in labels_of(node):
            return
        installed = await self._driver.installed()
        if not installed:
            self.queue.add_after(key, LOOK_SECONDS)
        wanted, present = csi_node(node, installed=installed), self.world.store(CSI_NODES).get(*key)
        if present is None:
            if installed:
                await self._introduce()
            await self.world.write(self.component, Create(CSI_NODES, wanted))
        elif installed and not present["spec"]["drivers"]:
            await self._introduce()
            await self.world.write(self.component, Patch(CSI_NODES, present, {"spec": wanted["spec"]}))

    async def _introduce(self) -> None:
        try:
            await self.world.write(self.component, Create(CSI_DRIVERS, CSI_DRIVER))
        except ApiError as error:
            if error.code != 409:  # 409: another node's registration made it
                raise

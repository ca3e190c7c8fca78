"""The model's claim: what a new one is made of, and what one that is there has otherwise than it would be made today."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.cache import manifests, observe
from tasks.cache.adoption import Adoption
from tasks.cache.kept import KeptVolume, choose, kept_volumes, known_elsewhere
from tasks.cache.observe import ClusterVerbs, Object
from tasks.cache.volume import Volume, differences
from tasks.cloud.ebs import Ebs, volume_figures
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.progress import Reporter
from tasks.records.results import StagedModel


@dataclass
class Claims:
    """That of one model in one environment. `needed`: commits that serve or may serve again."""

    cluster: ClusterVerbs
    staged: StagedModel
    model: Model
    environment: Environment
    ebs: Ebs
    needed: Collection[str]
    reporter: Reporter
    folder: Path | None = None

    @property
    def name(self) -> str:
        return manifests.claim_name(self.model)

    @property
    def adoption(self) -> Adoption:
        return Adoption(
            self.cluster,
            self.staged,
            self.model,
            self.environment,
            self.ebs,
            self.needed,
            self.reporter,
            self.folder,
        )

    def create(self, volume: Volume, nodes: Sequence[Object]) -> None:
        """On a volume an earlier cluster left in a zone of `nodes`, whose size grows later where it lacks; else of a
        snapshot of the very commit; else empty, for the job to fill from S3."""
        claim = manifests.claim(self.model, self.environment, volume, self.folder)
        kept = self._kept_volume(nodes)
        if kept is not None:
            documents = self._on(kept, volume, claim)
        else:
            documents = self.adoption.claim_of(claim, volume) or [
                manifests.storage_class(volume, self.environment, self.folder),
                claim,
            ]
            self._tell_figures(volume, documents[-1])
        for document in documents:
            self.cluster.apply(document)

    def _on(self, kept: KeptVolume, volume: Volume, claim: Object) -> list[Object]:
        self.reporter.say(
            f"claim {self.name} takes up {kept.identity}, which an earlier cluster left in {kept.zone}: "
            f"{kept.gib} GiB, {kept.iops} IOPS, {kept.mib_s} MiB/s"
        )
        document = manifests.kept_volume(kept, self.model, self.environment, volume, self.folder)
        claim["spec"]["volumeName"] = document["metadata"]["name"]
        claim["spec"]["resources"]["requests"]["storage"] = f"{kept.gib}Gi"
        return [manifests.storage_class(volume, self.environment, self.folder), document, claim]

    def _kept_volume(self, nodes: Sequence[Object]) -> KeptVolume | None:
        known = known_elsewhere(
            self.cluster.list("v1", "PersistentVolume"), self.environment.namespace, self.name
        )
        found = kept_volumes(self.ebs.aws, self.environment, self.name)
        return choose(found, zones=observe.zones_of(nodes), known=known)

    def _tell_figures(self, volume: Volume, claim: Object) -> None:
        prices = self.ebs.prices
        gib = int(str(claim["spec"]["resources"]["requests"]["storage"]).removesuffix("Gi"))
        usd = prices.told(prices.volume(gib, volume.iops, volume.throughput))
        self.reporter.say(
            f"claim {self.name}: {gib} GiB gp3, {volume.iops} IOPS, {volume.throughput} MiB/s: {usd}"
        )
        if self.ebs.ceiling and volume.throughput > self.ebs.ceiling:
            kind = self.environment.cluster.gpu.instance_type
            self.reporter.say(f"{kind} reads at most {self.ebs.ceiling:.0f} MiB/s of it")

    def tell_differences(self, volume_id: str, wanted: Volume) -> None:
        """What its volume has otherwise than a claim made today would get, and the command that changes it: neither the
        claim's class nor its size can take it there. Raises CloudError."""
        figures = volume_figures(self.ebs.aws, volume_id)
        if figures is None:
            return
        has = Volume(*figures)
        for line in differences(has, wanted, volume_id, asked=self.model.cache.size is not None):
            self.reporter.say(f"claim {self.name}: {line}")
        if (has.iops, has.throughput) != (wanted.iops, wanted.throughput):
            prices = self.ebs.prices
            now = prices.told(prices.volume(has.size_gib, has.iops, has.throughput))
            then = prices.told(prices.volume(has.size_gib, wanted.iops, wanted.throughput))
            self.reporter.say(f"claim {self.name}: now {now}, then {then}")

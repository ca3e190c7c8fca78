"""The protocol's methods, over the tables of resource types."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from slipway_sandbox.terraform.provider import planning
from slipway_sandbox.terraform.provider.schema import Block, DataSource, Path, Resource, State
from slipway_sandbox.terraform.provider.session import Session, explain
from slipway_sandbox.terraform.provider.values import UNKNOWN, coerce, complete, has_unknown, pack, unpack
from slipway_sandbox.terraform.provider.wire import ERROR, message


def attribute_path(path: Path) -> Any:
    step = message("AttributePath.Step")
    return message("AttributePath")(
        steps=[step(attribute_name=s) if isinstance(s, str) else step(element_key_int=s) for s in path]
    )


def diagnostic(summary: str, path: Path | None = None) -> Any:
    return message("Diagnostic")(
        severity=ERROR, summary=summary[:4000], attribute=attribute_path(path) if path else None
    )


class Provider:
    """Answers as one provider process: configured once, then asked about many resources at the same time."""

    def __init__(
        self, schema: Block, resources: Mapping[str, Resource], data_sources: Mapping[str, DataSource]
    ) -> None:
        self._schema = schema
        self._resources = resources
        self._data_sources = data_sources
        self._session: Session | None = None
        self._stopping = threading.Event()

    @property
    def session(self) -> Session:
        if self._session is None:
            raise RuntimeError("Terraform asked for a resource before it configured the provider")
        return self._session

    # ------------------------------------------------------------------ schema and validation

    @property
    def _capabilities(self) -> Any:
        return message("ServerCapabilities")(get_provider_schema_optional=True)

    def get_provider_schema(self, _request: Any) -> Any:
        schema, entry = message("Schema"), message("GetProviderSchema.Entry")
        return message("GetProviderSchema.Response")(
            provider=schema(block=self._schema.to_wire()),
            provider_meta=schema(block=message("Schema.Block")()),
            resource_schemas=[
                entry(key=name, value=schema(block=kind.schema.to_wire()))
                for name, kind in self._resources.items()
            ],
            data_source_schemas=[
                entry(key=name, value=schema(block=kind.schema.to_wire()))
                for name, kind in self._data_sources.items()
            ],
            server_capabilities=self._capabilities,
        )

    def validate_provider_config(self, _request: Any) -> Any:
        return message("ValidateProviderConfig.Response")()

    def validate_resource_config(self, request: Any) -> Any:
        problems = self._resources[request.type_name].validate(unpack(request.config))
        return message("ValidateResourceConfig.Response")(
            diagnostics=[diagnostic(text, path) for path, text in problems]
        )

    def validate_data_resource_config(self, _request: Any) -> Any:
        return message("ValidateDataResourceConfig.Response")()

    def configure_provider(self, request: Any) -> Any:
        response = message("ConfigureProvider.Response")
        try:
            self._session = Session(unpack(request.config) or {})
        except ValueError as error:
            return response(diagnostics=[diagnostic(f"configuring the provider: {error}")])
        self._session.stopped = self._stopping
        return response()

    def stop_provider(self, _request: Any) -> Any:
        self._stopping.set()
        return message("StopProvider.Response")()

    # ------------------------------------------------------------------ resources

    def upgrade_resource_state(self, request: Any) -> Any:
        schema = self._resources[request.type_name].schema
        state = complete(schema, json.loads(request.raw_state.json))
        return message("UpgradeResourceState.Response")(upgraded_state=pack(state))

    def read_resource(self, request: Any) -> Any:
        kind, current = self._resources[request.type_name], unpack(request.current_state)
        response = message("ReadResource.Response")
        try:
            shown = self._shown(kind, current)
        except Exception as error:  # noqa: BLE001 - goes to Terraform as its diagnostic
            failed = diagnostic(f"reading {request.type_name} ({current.get('id')}): {explain(error)}")
            return response(new_state=request.current_state, diagnostics=[failed])
        state = None if shown is None else planning.refreshed(kind.schema, current, shown)
        return response(new_state=pack(state))

    def plan_resource_change(self, request: Any) -> Any:
        kind = self._resources[request.type_name]
        prior, proposed = unpack(request.prior_state), unpack(request.proposed_new_state)
        response = message("PlanResourceChange.Response")
        if proposed is None:
            return response(planned_state=pack(None))
        config = unpack(request.config) or {}
        if kind.retag:
            proposed["tags_all"] = self._all_tags(proposed.get("tags"))
        planned, replaced = planning.plan(kind.schema, prior, proposed, config)
        return response(
            planned_state=pack(planned),
            requires_replace=[attribute_path(path) for path in replaced],
            legacy_type_system=kind.legacy_types,
        )

    def apply_resource_change(self, request: Any) -> Any:
        name, kind = request.type_name, self._resources[request.type_name]
        prior, planned = unpack(request.prior_state), unpack(request.planned_state)
        if planned is None:
            return self._delete(name, kind, prior)
        if prior is None:
            return self._create(name, kind, planned)
        return self._update(name, kind, prior, planned)

    def _delete(self, name: str, kind: Resource, prior: State) -> Any:
        response = message("ApplyResourceChange.Response")
        try:
            kind.delete(self.session, prior)
        except Exception as error:  # noqa: BLE001 - goes to Terraform as its diagnostic
            failed = diagnostic(f"deleting {name} ({prior.get('id')}): {explain(error)}")
            return response(new_state=pack(prior), diagnostics=[failed])
        return response(new_state=pack(None))

    def _create(self, name: str, kind: Resource, planned: State) -> Any:
        response = message("ApplyResourceChange.Response")
        wanted = without_unknown(planned)
        try:
            made = wanted | kind.create(self.session, wanted)
        except Exception as error:  # noqa: BLE001 - goes to Terraform as its diagnostic
            failed = diagnostic(f"creating {name}{_label(wanted)}: {explain(error)}")
            return response(new_state=pack(None), diagnostics=[failed])
        problems = []
        shown = made
        try:
            if kind.settle:
                kind.settle(self.session, made)
            shown = made | (self._shown(kind, made) or {})
        except Exception as error:  # noqa: BLE001 - it exists: its id is kept, Terraform marks it tainted
            problems.append(diagnostic(f"creating {name} ({made['id']}): {explain(error)}"))
        state = planning.applied(kind.schema, planned, shown)
        return response(new_state=pack(state), diagnostics=problems, legacy_type_system=kind.legacy_types)

    def _update(self, name: str, kind: Resource, prior: State, planned: State) -> Any:
        response = message("ApplyResourceChange.Response")
        wanted = {k: prior.get(k) if v is UNKNOWN else v for k, v in planned.items()}
        try:
            if kind.update and _without_tags(prior) != _without_tags(wanted):
                kind.update(self.session, prior, wanted)
            before, after = prior.get("tags_all") or {}, wanted.get("tags_all") or {}
            if kind.retag and before != after:
                removed = [key for key in before if key not in after]
                kind.retag(self.session, wanted, removed, dict(after.items() - before.items()))
            shown = wanted | (self._shown(kind, wanted) or {})
        except Exception as error:  # noqa: BLE001 - goes to Terraform as its diagnostic
            # the prior state stays: the next refresh reads how far it came
            failed = diagnostic(f"updating {name} ({prior.get('id')}): {explain(error)}")
            return response(new_state=pack(prior), diagnostics=[failed])
        state = planning.applied(kind.schema, planned, shown)
        return response(new_state=pack(state), legacy_type_system=kind.legacy_types)

    def import_resource_state(self, request: Any) -> Any:
        name, kind = request.type_name, self._resources[request.type_name]
        response = message("ImportResourceState.Response")
        try:
            state = complete(kind.schema, kind.importer(request.id))
        except ValueError as error:
            return response(diagnostics=[diagnostic(f"importing {name}: {error}")])
        imported = message("ImportResourceState.ImportedResource")(type_name=name, state=pack(state))
        return response(imported_resources=[imported])

    def read_data_source(self, request: Any) -> Any:
        kind, config = self._data_sources[request.type_name], unpack(request.config)
        response = message("ReadDataSource.Response")
        try:
            shown = kind.read(self.session, config)
        except Exception as error:  # noqa: BLE001 - goes to Terraform as its diagnostic
            return response(diagnostics=[diagnostic(f"reading data {request.type_name}: {explain(error)}")])
        # what the configuration set stays as it was set
        state = {**config, **{k: v for k, v in shown.items() if config.get(k) in (None, [])}}
        return response(state=pack(complete(kind.schema, state)))

    # ------------------------------------------------------------------ tags

    def _all_tags(self, tags: Any) -> Any:
        if has_unknown(tags):
            return UNKNOWN
        return self.session.default_tags | {k: v for k, v in (tags or {}).items() if v is not None}

    def _shown(self, kind: Resource, state: State) -> State | None:
        """What the API shows, its tags told apart into the resource's own and the provider's default ones."""
        shown = kind.read(self.session, state)
        if shown is None or not kind.retag or "tags" not in shown:
            return shown
        everything = {k: v for k, v in shown["tags"].items() if not k.startswith("aws:")}
        mine = state.get("tags") or {}
        defaults = self.session.default_tags
        own = {k: v for k, v in everything.items() if k in mine or defaults.get(k) != v}
        return shown | {"tags_all": everything, "tags": own or (None if state.get("tags") is None else {})}


def without_unknown(planned: State) -> State:
    """The plan for the code that calls AWS: what is not known yet is simply not given."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(item) for key, item in value.items()}
        if isinstance(value, list):
            return [cleaned(item) for item in value]
        return None if value is UNKNOWN else value

    result: State = cleaned(planned)
    return result


def _without_tags(state: State) -> State:
    return {key: value for key, value in state.items() if key not in ("tags", "tags_all")}


def _label(state: State) -> str:
    for key in ("name", "bucket", "node_group_name", "addon_name"):
        if isinstance(state.get(key), str):
            return f" ({coerce('string', state[key])})"
    return ""

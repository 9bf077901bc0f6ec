"""Automations: what the server does by itself when events happen, or fail to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.events.actions import UnknownAction
from prefect.events.schemas.automations import AutomationCore
from pydantic import Field, ValidationError

from server.bootstrap import api
from server.bootstrap.kind import Declared, Kind, Live, Need, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prefect.client.orchestration import SyncPrefectClient

PATH = "/automations"
NOBODY = str(UUID(int=0))
# A name in an action, in place of the id that Prefect wants: its kind, and the field of the id.
REFERENCES = {
    "block": ("block", "block_document_id"),
    "deployment": ("deployment", "deployment_id"),
    "work_pool": ("work pool", "work_pool_id"),
    "work_queue": ("work queue", "work_queue_id"),
    "automation": ("automation", "automation_id"),
}
LISTS = ("actions", "actions_on_trigger", "actions_on_resolve")


class Automation(Strict):
    """One automation, in Prefect's own format, with names in place of ids."""

    name: str
    description: str = ""
    enabled: bool = True  # when it is made
    tags: list[str] = Field(default_factory=list)
    trigger: dict[str, Any]
    actions: list[dict[str, Any]]
    actions_on_trigger: list[dict[str, Any]] = Field(default_factory=list)
    actions_on_resolve: list[dict[str, Any]] = Field(default_factory=list)


class Automations(Kind[Automation]):
    """The section `automations`."""

    name = "automation"
    section = "automations"
    order = 50
    model = Automation

    def check_one(self, item: Declared[Automation]) -> None:
        """Build it as Prefect does, which ignores a key that it does not know."""
        _built(item, self._body(item))

    def needs(self, item: Declared[Automation]) -> Iterator[Need]:
        """What its actions name."""
        for part in LISTS:
            for index, action in enumerate(getattr(item.value, part)):
                for key, (kind, _) in REFERENCES.items():
                    if key in action:
                        yield Need(kind, str(action[key]), (part, index, key))

    def read(
        self,
        client: SyncPrefectClient,
        items: Sequence[Declared[Automation]],  # noqa: ARG002
    ) -> dict[str, Live]:
        """By name, but for those that belong to something else, such as a deployment.

        Prefect lets two have one name; the oldest is taken.
        """
        found = sorted(
            api.every(client, f"{PATH}/filter"), key=lambda each: str(each["created"]), reverse=True
        )
        return {
            each["name"]: Live(UUID(each["id"]), each)
            for each in found
            if not each.get("owner_resource")
        }

    def compare(
        self,
        client: SyncPrefectClient,  # noqa: ARG002
        item: Declared[Automation],
        live: Live | None,
    ) -> list[str]:
        """All but whether it is enabled."""
        if live is None:
            return []
        wanted = _plain(_built(item, self._body(item)))
        found = _plain(AutomationCore.model_validate(live.value))
        return [name for name, value in wanted.items() if value != found[name]]

    def create(self, client: SyncPrefectClient, item: Declared[Automation]) -> UUID:
        """With the ids of what it names."""
        body = _built(item, self._body(item)).model_dump(mode="json")
        return UUID(api.call(client, "POST", f"{PATH}/", body)["id"])

    def update(self, client: SyncPrefectClient, item: Declared[Automation], live: Live) -> None:
        """Replace it; it stays as enabled as it is."""
        body = {**self._body(item), "enabled": live.value["enabled"]}
        taken = _built(item, body).model_dump(mode="json", exclude={"owner_resource"})
        api.call(client, "PUT", f"{PATH}/{live.id}", taken)

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:  # noqa: ARG002
        """By id."""
        api.call(client, "DELETE", f"{PATH}/{live.id}")

    def _body(self, item: Declared[Automation]) -> dict[str, Any]:
        body = item.value.model_dump(mode="json")
        for part in LISTS:
            body[part] = [self._resolved(action) for action in body[part]]
        return body

    def _resolved(self, action: dict[str, Any]) -> dict[str, Any]:
        resolved = dict(action)
        for key, (kind, field) in REFERENCES.items():
            if key in resolved:
                resolved[field] = str(self.world.ids.get((kind, str(resolved.pop(key))), NOBODY))
        return resolved


def _built(item: Declared[Automation], body: dict[str, Any]) -> AutomationCore:
    try:
        built = AutomationCore.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        # pydantic names the member of the union that it tried; the file has no such key.
        where = [part for part in first["loc"] if isinstance(part, int) or str(part) in _keys(body)]
        raise item.mistake(
            f"the automation {item.name!r} is not valid: {first['loc'][-1]}",
            *where,
            expected=first["msg"].removeprefix("Value error, "),
            found=repr(first["input"]) if not isinstance(first["input"], dict | list) else None,
        ) from None
    _refuse_unknown_actions(item, built)
    unknown = _unknown(body, built.model_dump(mode="json"))
    if unknown:
        raise item.mistake(
            f"the automation {item.name!r} has an unknown key {unknown[-1]!r}",
            *unknown,
            expected="a key that Prefect takes here, spelt as in its documentation",
            found=str(unknown[-1]),
        )
    return built


def _refuse_unknown_actions(item: Declared[Automation], built: AutomationCore) -> None:
    """Refuse a type of action that this Prefect does not know.

    Since 3.9 its model takes any type, for the sake of a newer Cloud; the server then refuses it.
    """
    for part in LISTS:
        for index, action in enumerate(getattr(built, part)):
            if isinstance(action, UnknownAction):
                raise item.mistake(
                    f"the automation {item.name!r} is not valid: type",
                    *(part, index, "type"),
                    expected="a type of action that Prefect has",
                    found=repr(action.type),
                )


def _unknown(declared: Any, taken: Any) -> list[str | int]:
    """The way to the first key of `declared` that is missing in `taken`; empty when none is."""
    if isinstance(declared, dict) and isinstance(taken, dict):
        for key, value in declared.items():
            if key not in taken:
                return [key]
            if below := _unknown(value, taken[key]):
                return [key, *below]
    elif isinstance(declared, list) and isinstance(taken, list):
        for index, (one, other) in enumerate(zip(declared, taken, strict=False)):
            if below := _unknown(one, other):
                return [index, *below]
    return []


def _keys(node: Any) -> set[str]:
    if isinstance(node, dict):
        return set(node).union(*(_keys(value) for value in node.values()))
    return set().union(*(_keys(value) for value in node)) if isinstance(node, list) else set()


def _plain(automation: AutomationCore) -> dict[str, Any]:
    return dict(_without_ids(automation.model_dump(mode="json", exclude={"enabled"})))


def _without_ids(node: Any) -> Any:
    """Without the ids that triggers get when they are made; sets in one order."""
    if isinstance(node, dict):
        return {
            key: sorted(value) if key in {"after", "expect", "for_each"} else _without_ids(value)
            for key, value in node.items()
            if key != "id"
        }
    return [_without_ids(value) for value in node] if isinstance(node, list) else node

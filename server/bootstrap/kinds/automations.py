"""Automations: actions that the server takes when an event occurs or fails to occur."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.events.actions import UnknownAction
from prefect.events.schemas.automations import AutomationCore
from pydantic import Field, ValidationError

from server.bootstrap import api
from server.bootstrap.kind import Kind
from server.bootstrap.resource import Declared, Difference, Live, Need, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Keys of an action that refer to a resource by name: the kind of the resource, and the field in
# which Prefect expects its id.
REFERENCES = {
    "block": ("block", "block_document_id"),
    "deployment": ("deployment", "deployment_id"),
    "work_pool": ("work pool", "work_pool_id"),
    "work_queue": ("work queue", "work_queue_id"),
    "automation": ("automation", "automation_id"),
}
LISTS = ("actions", "actions_on_trigger", "actions_on_resolve")


class Automation(Strict):
    """One automation, in Prefect's own format but with names instead of ids."""

    name: str
    description: str = ""
    enabled: bool = True  # applies only when it is created
    tags: list[str] = Field(default_factory=list)
    trigger: dict[str, Any]
    actions: list[dict[str, Any]]
    actions_on_trigger: list[dict[str, Any]] = Field(default_factory=list)
    actions_on_resolve: list[dict[str, Any]] = Field(default_factory=list)


class Automations(Kind[Automation]):
    """The section `automations` of `stack.yaml`."""

    name = "automation"
    section = "automations"
    order = 50
    model = Automation
    path = "/automations"

    def check_one(self, item: Declared[Automation]) -> None:
        """Validate the item with Prefect's model, and refuse keys that Prefect would ignore."""
        _validated(item, self._body(item))

    def needs(self, item: Declared[Automation]) -> Iterator[Need]:
        """The resources that the actions refer to."""
        for part in LISTS:
            for index, action in enumerate(getattr(item.value, part)):
                for key, (kind, _) in REFERENCES.items():
                    if key in action:
                        yield Need(kind, str(action[key]), (part, index, key))

    def every(self) -> Iterator[tuple[str, Live]]:
        """All automations with their names, which Prefect does not require to be unique."""
        for automation in api.every(self.client, f"{self.path}/filter"):
            yield automation["name"], Live(UUID(automation["id"]), automation)

    def read(self, items: Sequence[Declared[Automation]]) -> dict[str, Live]:  # noqa: ARG002
        """The automations by name, without those that belong to a resource such as a deployment.

        If two have the same name, the older one counts.
        """
        unowned = (
            (name, live) for name, live in self.every() if not live.value.get("owner_resource")
        )
        newest_first = sorted(
            unowned, key=lambda entry: str(entry[1].value["created"]), reverse=True
        )
        return dict(newest_first)

    def compare(self, item: Declared[Automation], live: Live | None) -> Difference:
        """Compare all fields except `enabled`, which people switch in the UI."""
        declared = _validated(item, self._body(item))
        if live is None:
            return Difference(declared.model_dump(mode="json"))
        wanted = _comparable(declared)
        existing = _comparable(AutomationCore.model_validate(live.value))
        body = declared.model_dump(mode="json", exclude={"owner_resource"})
        return Difference(
            {**body, "enabled": live.value["enabled"]},
            tuple(name for name, value in wanted.items() if value != existing[name]),
        )

    def create(self, item: Declared[Automation], payload: Any) -> UUID:  # noqa: ARG002
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        self.client.call("PUT", f"{self.path}/{live.id}", payload)

    def _body(self, item: Declared[Automation]) -> dict[str, Any]:
        body = item.value.model_dump(mode="json")
        for part in LISTS:
            body[part] = [self._with_ids(action) for action in body[part]]
        return body

    def _with_ids(self, action: dict[str, Any]) -> dict[str, Any]:
        resolved = dict(action)
        for key, (kind, field) in REFERENCES.items():
            if key in resolved:
                resolved[field] = self.world.id_of(kind, str(resolved.pop(key)))
        return resolved


def _validated(item: Declared[Automation], body: dict[str, Any]) -> AutomationCore:
    try:
        automation = AutomationCore.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        # The location also names the member of a union that pydantic tried, which is not a key of
        # the file.
        where = [part for part in first["loc"] if isinstance(part, int) or str(part) in _keys(body)]
        raise item.mistake(
            f"the automation {item.name!r} is not valid: {first['loc'][-1]}",
            *where,
            expected=first["msg"].removeprefix("Value error, "),
            found=repr(first["input"]) if not isinstance(first["input"], dict | list) else None,
        ) from None
    _refuse_unknown_actions(item, automation)
    unknown = _unknown_key(body, automation.model_dump(mode="json"))
    if unknown:
        raise item.mistake(
            f"the automation {item.name!r} has an unknown key {unknown[-1]!r}",
            *unknown,
            expected="a key that Prefect takes here, spelt as in its documentation",
            found=str(unknown[-1]),
        )
    return automation


def _refuse_unknown_actions(item: Declared[Automation], automation: AutomationCore) -> None:
    """Refuse a type of action that the installed Prefect does not know.

    Since 3.9 its model accepts any type, so that clients work with a newer Cloud; a server then
    refuses it.
    """
    for part in LISTS:
        for index, action in enumerate(getattr(automation, part)):
            if isinstance(action, UnknownAction):
                raise item.mistake(
                    f"the automation {item.name!r} is not valid: type",
                    *(part, index, "type"),
                    expected="a type of action that Prefect knows",
                    found=repr(action.type),
                )


def _unknown_key(declared: Any, accepted: Any) -> list[str | int]:
    """The path to the first key in `declared` that is not in `accepted`; empty if there is none."""
    if isinstance(declared, dict) and isinstance(accepted, dict):
        for key, value in declared.items():
            if key not in accepted:
                return [key]
            if below := _unknown_key(value, accepted[key]):
                return [key, *below]
    elif isinstance(declared, list) and isinstance(accepted, list):
        for index, (one, other) in enumerate(zip(declared, accepted, strict=False)):
            if below := _unknown_key(one, other):
                return [index, *below]
    return []


def _keys(node: Any) -> set[str]:
    if isinstance(node, dict):
        return set(node).union(*(_keys(value) for value in node.values()))
    return set().union(*(_keys(value) for value in node)) if isinstance(node, list) else set()


def _comparable(automation: AutomationCore) -> dict[str, Any]:
    return dict(_without_ids(automation.model_dump(mode="json", exclude={"enabled"})))


def _without_ids(node: Any) -> Any:
    """`node` without the ids that the server gives to triggers, and with sets in a fixed order."""
    if isinstance(node, dict):
        return {
            key: sorted(value) if key in {"after", "expect", "for_each"} else _without_ids(value)
            for key, value in node.items()
            if key != "id"
        }
    return [_without_ids(value) for value in node] if isinstance(node, list) else node

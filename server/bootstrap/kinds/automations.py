"""Automations: actions of the server when an event happens or is missed."""

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

# The keys of an action that take a name instead of an id: its kind, and Prefect's field of the id.
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
    path = "/automations"

    def check_one(self, item: Declared[Automation]) -> None:
        """Build it with Prefect's model, and refuse the keys that Prefect would ignore."""
        _built(item, self._body(item))

    def needs(self, item: Declared[Automation]) -> Iterator[Need]:
        """The resources that its actions refer to."""
        for part in LISTS:
            for index, action in enumerate(getattr(item.value, part)):
                for key, (kind, _) in REFERENCES.items():
                    if key in action:
                        yield Need(kind, str(action[key]), (part, index, key))

    def every(self) -> Iterator[tuple[str, Live]]:
        """All automations by name; Prefect lets two have the same."""
        for each in api.every(self.client, f"{self.path}/filter"):
            yield each["name"], Live(UUID(each["id"]), each)

    def read(self, items: Sequence[Declared[Automation]]) -> dict[str, Live]:  # noqa: ARG002
        """The older of two with one name; none that belongs to a resource such as a deployment."""
        own = (each for each in self.every() if not each[1].value.get("owner_resource"))
        return dict(sorted(own, key=lambda each: str(each[1].value["created"]), reverse=True))

    def compare(self, item: Declared[Automation], live: Live | None) -> Difference:
        """Compare all but whether it is enabled, which is up to whoever switched it."""
        built = _built(item, self._body(item))
        if live is None:
            return Difference(built.model_dump(mode="json"))
        wanted, found = _plain(built), _plain(AutomationCore.model_validate(live.value))
        body = built.model_dump(mode="json", exclude={"owner_resource"})
        return Difference(
            {**body, "enabled": live.value["enabled"]},
            tuple(name for name, value in wanted.items() if value != found[name]),
        )

    def create(self, item: Declared[Automation], payload: Any) -> UUID:  # noqa: ARG002
        """Create it, with ids in place of the names."""
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        self.client.call("PUT", f"{self.path}/{live.id}", payload)

    def _body(self, item: Declared[Automation]) -> dict[str, Any]:
        body = item.value.model_dump(mode="json")
        for part in LISTS:
            body[part] = [self._resolved(action) for action in body[part]]
        return body

    def _resolved(self, action: dict[str, Any]) -> dict[str, Any]:
        resolved = dict(action)
        for key, (kind, field) in REFERENCES.items():
            if key in resolved:
                resolved[field] = self.world.id_of(kind, str(resolved.pop(key)))
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
    """The path to the first key of `declared` that is missing in `taken`; empty when none is."""
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
    """Without the ids that triggers get when they are created, and with sets in a fixed order."""
    if isinstance(node, dict):
        return {
            key: sorted(value) if key in {"after", "expect", "for_each"} else _without_ids(value)
            for key, value in node.items()
            if key != "id"
        }
    return [_without_ids(value) for value in node] if isinstance(node, list) else node

"""The record of the resources that bootstrap has created.

The record is kept on the server, so that every machine finds it. Each stack name has its own block,
because several stacks may declare resources on one server. A resource is ours if both its name and
its id are recorded; a resource that a person created later under the same name is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.blocks.core import Block

from server.bootstrap import api

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from server.bootstrap.api import Client
    from server.bootstrap.change import Change

SLUG = "stack-bootstrap"
BEING_CREATED = None  # recorded instead of an id while the resource is being created


class StackBootstrap(Block):
    """What `scripts/bootstrap.py` has made on this server. It removes nothing else."""

    _block_type_name = "Stack bootstrap"
    _block_type_slug = SLUG

    resources: dict[str, dict[str, str | None]]  # kind, name, id


class Record:
    """The record of the stack called `stack_name`."""

    def __init__(self, client: Client, stack_name: str) -> None:
        """Read the record from the server; it is empty if this stack has created nothing yet."""
        self._name = stack_name.replace("_", "-")
        path = f"/block_types/slug/{SLUG}/block_documents/name/{self._name}"
        document = api.find(client, path)
        kinds: dict[str, Any] = document["data"]["resources"] if document else {}
        self._saved = {
            (kind, name): id_ for kind, ids in kinds.items() for name, id_ in ids.items()
        }
        self._now = dict(self._saved)

    def owns(self, kind: str, name: str, live: UUID) -> bool:
        """Whether bootstrap created this resource."""
        key = (kind, name)
        return key in self._saved and self._saved[key] in {BEING_CREATED, str(live)}

    def begin(self, changes: Iterable[Change]) -> None:
        """Record what is about to be created, so that it is recognised after a crash."""
        self._tidy(changes)
        self._now |= {
            (change.kind, change.name): BEING_CREATED for change in changes if _creates(change)
        }
        self._save()

    def mark_applied(self, change: Change, id_: UUID | None) -> None:
        """Note that `change` was applied; `end` saves it."""
        if _creates(change):
            self._now[change.kind, change.name] = str(id_)
        elif change.action == "remove":
            self._now.pop((change.kind, change.name), None)

    def mark_refused(self, change: Change) -> None:
        """Note that `change` was not applied; `end` saves it."""
        if _creates(change):
            self._now.pop((change.kind, change.name), None)

    def end(self) -> None:
        """Save the record if it has changed."""
        self._save()

    def _tidy(self, changes: Iterable[Change]) -> None:
        """Complete the entries of an interrupted bootstrap, and drop those of removed resources."""
        live = {(change.kind, change.name): change.id for change in changes if change.id}
        self._now = {
            key: str(live[key]) for key in self._saved if key in live and self.owns(*key, live[key])
        }

    def _save(self) -> None:
        if self._now == self._saved:
            return
        resources: dict[str, dict[str, str | None]] = {}
        for (kind, name), id_ in sorted(self._now.items()):
            resources.setdefault(kind, {})[name] = id_
        StackBootstrap(resources=resources).save(self._name, overwrite=True)
        self._saved = dict(self._now)


def _creates(change: Change) -> bool:
    return change.action == "create"

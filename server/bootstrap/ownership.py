"""The record of the resources that bootstrap has created.

It is kept on the server, so that every machine finds it: in a block for each stack name, since
several stacks may declare resources on one server. A resource is ours if both its name and its id
are recorded; one that a person created later under the same name is not.
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
BEING_MADE = None  # instead of an id: its creation was about to begin


class StackBootstrap(Block):
    """What `scripts/bootstrap.py` has made on this server. It removes nothing else."""

    _block_type_name = "Stack bootstrap"
    _block_type_slug = SLUG

    resources: dict[str, dict[str, str | None]]  # kind, name, id


class Record:
    """The record of the stack called `stack_name`."""

    def __init__(self, client: Client, stack_name: str) -> None:
        """Read the record, which is empty when this stack has created nothing here."""
        self._name = stack_name.replace("_", "-")
        path = f"/block_types/slug/{SLUG}/block_documents/name/{self._name}"
        document = api.find(client, path)
        held: dict[str, Any] = document["data"]["resources"] if document else {}
        self._saved = {(kind, name): id_ for kind, ids in held.items() for name, id_ in ids.items()}
        self._now = dict(self._saved)

    def owns(self, kind: str, name: str, live: UUID) -> bool:
        """Whether bootstrap created this resource."""
        key = (kind, name)
        return key in self._saved and self._saved[key] in {BEING_MADE, str(live)}

    def begin(self, changes: Iterable[Change]) -> None:
        """Record what is about to be created, so that it is recognized after a crash."""
        self._settle(changes)
        self._now |= {(each.kind, each.name): BEING_MADE for each in changes if _new(each)}
        self._save()

    def made(self, change: Change, id_: UUID | None) -> None:
        """Record that `change` was applied."""
        if _new(change):
            self._now[change.kind, change.name] = str(id_)
        elif change.action == "remove":
            self._now.pop((change.kind, change.name), None)

    def refused(self, change: Change) -> None:
        """Record that `change` was refused by the server."""
        if _new(change):
            self._now.pop((change.kind, change.name), None)

    def end(self) -> None:
        """Save the record if it has changed."""
        self._save()

    def _settle(self, changes: Iterable[Change]) -> None:
        """Complete the entries of an interrupted run, and drop those of removed resources."""
        live = {(each.kind, each.name): each.id for each in changes if each.id}
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


def _new(change: Change) -> bool:
    return change.action == "create"

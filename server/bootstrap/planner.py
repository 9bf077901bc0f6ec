"""Compares what is declared with what is live, and makes the difference go away."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from server.bootstrap.change import WRITES, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prefect.client.orchestration import SyncPrefectClient

    from server.bootstrap.declared import Declaration
    from server.bootstrap.kind import Kind, Live, World
    from server.bootstrap.ownership import Record


class Planner:
    """The kinds of one bootstrap, on one server."""

    def __init__(
        self, client: SyncPrefectClient, world: World, kinds: Sequence[Kind[Any]], record: Record
    ) -> None:
        """Know them; nothing is read."""
        self.client = client
        self.world = world
        self.kinds = kinds
        self.record = record

    def plan(self, declared: Mapping[str, Declaration], *, prune: bool) -> list[Change]:
        """Every resource with what is to be done to it, in the order to do it in.

        Writes nothing.

        Raises:
            MistakeError: the server would not take something.
        """
        live = {kind.name: kind.read(self.client, declared[kind.name].items) for kind in self.kinds}
        self.world.ids |= {
            (kind, name): each.id for kind, found in live.items() for name, each in found.items()
        }
        changes = [
            change
            for kind in self.kinds
            for change in self._declared(kind, declared[kind.name], live[kind.name])
        ]
        for kind in reversed(self.kinds):
            found = self._undeclared(kind, declared[kind.name], live[kind.name])
            changes += [_removed(each) for each in found] if prune else found
        return changes

    def apply(self, changes: Sequence[Change], say: Callable[[Change], None]) -> None:
        """Make every change, in order; `say` is told of each one that was made.

        What is planned afterwards writes nothing. After a failure half-way, a new plan holds the
        rest.
        """
        self.record.begin(changes)
        for change in changes:
            if change.action in WRITES:
                made = change.apply()
                if made is not None:
                    self.world.ids[change.kind, change.name] = made
                self.record.made(change, made)
                say(change)
        self.record.end()

    def _declared(
        self, kind: Kind[Any], declaration: Declaration, live: Mapping[str, Live]
    ) -> Iterator[Change]:
        for item in declaration.items:
            found = live.get(item.name)
            fields = kind.compare(self.client, item, found)
            if found is None:
                create = partial(kind.create, self.client, item)
                yield Change("create", kind.name, item.name, apply=create)
            elif fields:
                update = partial(kind.update, self.client, item, found)
                yield Change("update", kind.name, item.name, tuple(fields), found.id, update)
            else:
                yield Change("unchanged", kind.name, item.name, id=found.id)
        for name, reason in declaration.left_out.items():
            if name not in live:
                yield Change("left out", kind.name, name, (reason,))

    def _undeclared(
        self, kind: Kind[Any], declaration: Declaration, live: Mapping[str, Live]
    ) -> Iterator[Change]:
        declared = {item.name for item in declaration.items}
        for name, found in sorted(live.items()):
            if name in declared:
                continue
            details = tuple(filter(None, [declaration.left_out.get(name)]))
            if self.record.owns(kind.name, name, found.id):
                delete = partial(kind.delete, self.client, name, found)
                yield Change("no longer declared", kind.name, name, details, found.id, delete)
            else:
                yield Change("not ours", kind.name, name, details, found.id)


def _removed(change: Change) -> Change:
    return replace(change, action="remove") if change.action == "no longer declared" else change

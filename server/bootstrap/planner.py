"""Plans the changes that make the server match the declarations, and applies them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from server.bootstrap import refusals
from server.bootstrap.change import WRITES, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from uuid import UUID

    from server.bootstrap.declarations import Declaration
    from server.bootstrap.kind import Kind
    from server.bootstrap.ownership import Record
    from server.bootstrap.resource import Declared, Live
    from server.bootstrap.world import World


class Planner:
    """Plans and applies the changes of one bootstrap."""

    def __init__(self, world: World, kinds: Sequence[Kind[Any]], record: Record) -> None:
        self.world = world
        self.kinds = kinds
        self.record = record

    def plan(self, declared: Mapping[str, Declaration], *, prune: bool) -> list[Change]:
        """Plan the change of every resource, in the order of application, without any write.

        A declaration that the server would not accept is recorded in the world as wrong. It is left
        out together with all declarations that refer to it.
        """
        live = {kind.name: kind.read(declared[kind.name].items) for kind in self.kinds}
        self.world.ids |= {
            (kind, name): resource.id
            for kind, resources in live.items()
            for name, resource in resources.items()
        }
        changes = [
            change
            for kind in self.kinds
            for change in self._plan_declared(kind, declared[kind.name], live[kind.name])
        ]
        planned = {(change.kind, change.name) for change in changes}
        for kind in reversed(self.kinds):
            rest = {
                name: resource
                for name, resource in live[kind.name].items()
                if (kind.name, name) not in planned
            }
            undeclared = self._plan_undeclared(kind, declared[kind.name], rest)
            changes += [_as_removal(change) for change in undeclared] if prune else undeclared
        return [*changes, *self._wrong_and_missing(changes)]

    def apply(self, changes: Sequence[Change], on_write: Callable[[Change], None]) -> list[Change]:
        """Apply every change in order, and return the changes with their outcomes.

        `on_write` is called for each change that was written. A change that the server refuses is
        recorded in the world, and the changes that refer to it are left out. A plan made afterwards
        contains no writes; after a failure half-way, it contains the remaining ones.
        """
        self.record.begin(changes)
        outcomes = []
        for change in changes:
            outcome = self._apply(change) if change.action in WRITES else change
            outcomes.append(outcome)
            if change.action not in WRITES:
                continue
            if outcome.action in WRITES:
                on_write(outcome)
            else:
                self.record.mark_refused(change)
        self.record.end()
        return outcomes

    def _apply(self, change: Change) -> Change:
        item = change.item
        kind = next(kind for kind in self.kinds if kind.name == change.kind)
        if item is not None and (reason := self._broken_need(kind, item)):
            return self._left_out(change, item, reason)
        try:
            new_id = change.apply()
        except httpx.HTTPStatusError as error:
            if item is None or not refusals.is_refusal(error):
                raise
            with self.world.skip_on_mistake(kind.name, item.name, item.place):
                raise refusals.refusal(error, item, kind.name) from error
            return replace(change, action="wrong", details=(item.place,))
        if new_id is not None:
            self.world.ids[change.kind, change.name] = new_id
        self.record.mark_applied(change, new_id)
        return change

    def _plan_declared(
        self, kind: Kind[Any], declaration: Declaration, live: Mapping[str, Live]
    ) -> Iterator[Change]:
        for item in declaration.items:
            change: Change | None = None
            with self.world.skip_on_mistake(kind.name, item.name, item.place):
                change = self._plan_one(kind, item, live.get(item.name))
            if change is not None:
                yield change
        for name, reason in declaration.left_out.items():
            if name not in live:
                yield Change("left out", kind.name, name, (reason,))

    def _plan_one(self, kind: Kind[Any], item: Declared[Any], live: Live | None) -> Change:
        if reason := self._broken_need(kind, item):
            change = Change("left out", kind.name, item.name, id=live.id if live else None)
            return self._left_out(change, item, reason)
        difference = kind.compare(item, live)
        if live is None:
            create = partial(self._create, kind, item, difference.payload)
            return Change("create", kind.name, item.name, item=item, apply=create)
        if difference.fields:
            update = partial(self._update, kind, live, difference.payload)
            fields = difference.fields
            return Change("update", kind.name, item.name, fields, live.id, item, update)
        return Change("unchanged", kind.name, item.name, id=live.id)

    def _create(self, kind: Kind[Any], item: Declared[Any], payload: Any) -> UUID:
        return kind.create(item, self.world.with_ids(payload))

    def _update(self, kind: Kind[Any], live: Live, payload: Any) -> None:
        kind.update(live, self.world.with_ids(payload))

    def _broken_need(self, kind: Kind[Any], item: Declared[Any]) -> str | None:
        """Why `item` cannot be applied: it refers to a resource whose declaration is wrong.

        Returns:
            The reason, or None if all resources that `item` refers to exist or will be created.

        Raises:
            MistakeError: `item` refers to a resource that is neither declared nor on the server.
        """
        for need in kind.needs(item):
            if wrong := self.world.wrong_declaration(need.kind, need.name):
                return f"the {need.kind} {need.name!r} ({wrong.place}) is left as it is"
            if not self.world.knows(need.kind, need.name):
                raise item.mistake(
                    f"the {kind.name} {item.name!r} names a {need.kind} that is not there",
                    *need.within,
                    expected=f"a {need.kind} that is declared, or is on the server",
                    found=need.name,
                )
        return None

    def _left_out(self, change: Change, item: Declared[Any], reason: str) -> Change:
        self.world.leave_out(change.kind, item.name, item.place)
        return replace(change, action="left out", details=(reason,))

    def _plan_undeclared(
        self, kind: Kind[Any], declaration: Declaration, live: Mapping[str, Live]
    ) -> Iterator[Change]:
        for name, resource in sorted(live.items()):
            ours = self.record.owns(kind.name, name, resource.id)
            wrong = self.world.wrong_declaration(kind.name, name)
            if wrong and (ours or wrong.exact):
                yield Change("wrong", kind.name, name, (wrong.place,), resource.id)
                continue
            reason = declaration.left_out.get(name)
            if ours:
                details = tuple(filter(None, [reason, kind.still_active(resource)]))
                delete = partial(kind.delete, resource)
                yield Change(
                    "no longer declared", kind.name, name, details, resource.id, apply=delete
                )
            else:
                yield Change("not ours", kind.name, name, (reason,) if reason else (), resource.id)

    def _wrong_and_missing(self, changes: Sequence[Change]) -> Iterator[Change]:
        """Entries for wrong declarations of resources that are not on the server."""
        for wrong in self.world.wrong:
            if not any(
                wrong.may_be(change.kind, change.name)
                for change in changes
                if change.action in {"wrong", "left out"}
            ):
                yield Change("wrong", wrong.kind, wrong.name or "?", (wrong.place,))


def _as_removal(change: Change) -> Change:
    return replace(change, action="remove") if change.action == "no longer declared" else change

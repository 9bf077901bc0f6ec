"""Plans the changes that make the server match the declarations, and applies them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from server.bootstrap import answers
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
        """The change of every resource, in the order of application; nothing is written.

        A declaration that the server would not accept is recorded in the world as wrong, and left
        out with all that refer to it.
        """
        live = {kind.name: kind.read(declared[kind.name].items) for kind in self.kinds}
        self.world.ids |= {
            (kind, name): each.id for kind, found in live.items() for name, each in found.items()
        }
        changes = [
            change
            for kind in self.kinds
            for change in self._declared(kind, declared[kind.name], live[kind.name])
        ]
        shown = {(each.kind, each.name) for each in changes}
        for kind in reversed(self.kinds):
            rest = {n: each for n, each in live[kind.name].items() if (kind.name, n) not in shown}
            found = self._undeclared(kind, declared[kind.name], rest)
            changes += [_removed(each) for each in found] if prune else found
        return [*changes, *self._not_there(changes)]

    def apply(self, changes: Sequence[Change], say: Callable[[Change], None]) -> list[Change]:
        """Apply every change in order, and return what became of each.

        `say` is called for each change that was made. One that the server refuses is recorded in
        the world, and those that refer to it are left out. A plan made afterwards has no writes;
        after a failure half-way, it has the remaining ones.
        """
        self.record.begin(changes)
        done = []
        for change in changes:
            outcome = self._apply(change) if change.action in WRITES else change
            done.append(outcome)
            if change.action not in WRITES:
                continue
            if outcome.action in WRITES:
                say(outcome)
            else:
                self.record.refused(change)
        self.record.end()
        return done

    def _apply(self, change: Change) -> Change:
        item = change.item
        kind = next(each for each in self.kinds if each.name == change.kind)
        if item is not None and (reason := self._broken_need(kind, item)):
            return self._left_out(change, item, reason)
        try:
            made = change.apply()
        except httpx.HTTPStatusError as error:
            if item is None or not answers.is_refusal(error):
                raise
            with self.world.sparing(kind.name, item.name, item.place):
                raise answers.refusal(error, item, kind.name) from error
            return replace(change, action="wrong", details=(item.place,))
        if made is not None:
            self.world.ids[change.kind, change.name] = made
        self.record.made(change, made)
        return change

    def _declared(
        self, kind: Kind[Any], declaration: Declaration, live: Mapping[str, Live]
    ) -> Iterator[Change]:
        for item in declaration.items:
            change: Change | None = None
            with self.world.sparing(kind.name, item.name, item.place):
                change = self._planned(kind, item, live.get(item.name))
            if change is not None:
                yield change
        for name, reason in declaration.left_out.items():
            if name not in live:
                yield Change("left out", kind.name, name, (reason,))

    def _planned(self, kind: Kind[Any], item: Declared[Any], found: Live | None) -> Change:
        if reason := self._broken_need(kind, item):
            change = Change("left out", kind.name, item.name, id=found.id if found else None)
            return self._left_out(change, item, reason)
        difference = kind.compare(item, found)
        if found is None:
            create = partial(self._create, kind, item, difference.payload)
            return Change("create", kind.name, item.name, item=item, apply=create)
        if difference.fields:
            update = partial(self._update, kind, found, difference.payload)
            fields = difference.fields
            return Change("update", kind.name, item.name, fields, found.id, item, update)
        return Change("unchanged", kind.name, item.name, id=found.id)

    def _create(self, kind: Kind[Any], item: Declared[Any], payload: Any) -> UUID:
        return kind.create(item, self.world.with_ids(payload))

    def _update(self, kind: Kind[Any], live: Live, payload: Any) -> None:
        kind.update(live, self.world.with_ids(payload))

    def _broken_need(self, kind: Kind[Any], item: Declared[Any]) -> str | None:
        """Why a resource that `item` refers to will not be there; None when all will.

        Raises:
            MistakeError: it names what is not there at all.
        """
        for need in kind.needs(item):
            if wrong := self.world.wrong_one(need.kind, need.name):
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

    def _undeclared(
        self, kind: Kind[Any], declaration: Declaration, live: Mapping[str, Live]
    ) -> Iterator[Change]:
        for name, found in sorted(live.items()):
            ours = self.record.owns(kind.name, name, found.id)
            wrong = self.world.wrong_one(kind.name, name)
            if wrong and (ours or wrong.exact):
                yield Change("wrong", kind.name, name, (wrong.place,), found.id)
                continue
            reason = declaration.left_out.get(name)
            if ours:
                details = tuple(filter(None, [reason, kind.goes_on(found)]))
                delete = partial(kind.delete, found)
                yield Change("no longer declared", kind.name, name, details, found.id, apply=delete)
            else:
                yield Change("not ours", kind.name, name, (reason,) if reason else (), found.id)

    def _not_there(self, changes: Sequence[Change]) -> Iterator[Change]:
        """Lines for the wrong declarations of resources that the server does not have."""
        for wrong in self.world.wrong:
            if not any(
                wrong.may_be(each.kind, each.name)
                for each in changes
                if each.action in {"wrong", "left out"}
            ):
                yield Change("wrong", wrong.kind, wrong.name or "?", (wrong.place,))


def _removed(change: Change) -> Change:
    return replace(change, action="remove") if change.action == "no longer declared" else change

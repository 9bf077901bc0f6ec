"""Shows a plan as a table for people or as JSON for programs: names of fields, but no values."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

from server.bootstrap.change import DRIFT, WRITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from server.bootstrap.change import Change
    from server.bootstrap.world import World

HEADINGS = ("ACTION", "KIND", "NAME", "FIELDS")
# The actions whose details are a reason instead of fields.
REASONED = {"left out", "wrong", "no longer declared", "remove"}
PAST_TENSE = {"create": "created", "update": "updated", "remove": "removed"}


def table(changes: Sequence[Change]) -> str:
    """The table of changes, with headings and aligned columns."""
    rows = [
        HEADINGS,
        *((change.action, change.kind, change.name, _details(change)) for change in changes),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    lines = (
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def drift(changes: Iterable[Change]) -> int:
    """How many resources differ from their declarations."""
    return sum(change.action in DRIFT for change in changes)


def summary(changes: Sequence[Change], *, applied: bool) -> str:
    """One line with the number of changes that were made, or that would be."""
    counts = Counter(change.action for change in changes)
    parts = [
        f"{counts[action]} {PAST_TENSE[action] if applied else f'to {action}'}"
        for action in WRITES
        if counts[action]
    ]
    parts = parts or ["nothing changed" if applied else "nothing to change"]
    if counts["left out"]:
        parts.append(f"{counts['left out']} left out")
    if counts["wrong"]:
        parts.append(f"{counts['wrong']} wrong")
    if counts["no longer declared"]:
        parts.append(
            f"{counts['no longer declared']} no longer declared: "
            "`scripts/bootstrap.py --prune` removes them"
        )
    return ", ".join(parts)


def write_json(changes: Sequence[Change], world: World, *, applied: bool) -> None:
    """Write the changes, the mistakes and the notes as JSON."""
    content = {
        "applied": applied,
        "drift": drift(changes),
        "changes": [
            {
                "action": change.action.replace(" ", "-"),
                "kind": change.kind,
                "name": change.name,
                "fields": [] if change.action in REASONED else list(change.details),
                "reason": _details(change) or None if change.action in REASONED else None,
            }
            for change in changes
        ],
        "problems": [str(problem) for problem in world.problems],
        "notes": world.notes,
    }
    json.dump(content, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _details(change: Change) -> str:
    return ", ".join(change.details)

"""`task.serve()`, which Prefect recommends where flow runs start too slowly."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import TYPE_CHECKING

from benchmarks.contender import Contender, Job, Timing
from benchmarks.prefect_contender import FIRST_LINE, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS = """
    select id::text, extract(epoch from created)::float8,
           case when state_type::text = any(%s) then extract(epoch from end_time)::float8 end,
           state_type::text
    from task_run where id = any(%s::uuid[])
"""
LINES = """
    select task_run_id::text, extract(epoch from min(timestamp))::float8
    from log where task_run_id = any(%s::uuid[]) and message = %s group by task_run_id
"""


class TaskServe(Contender):
    """`task.serve()`, which runs tasks in threads of one process: no isolation, no work pool."""

    name = "task-serve"
    title = "task.serve()"
    poll_seconds = 0
    unfinished = (("prefect", "delete from task_run where end_time is null"),)

    def versions(self) -> dict[str, str]:
        """Return the version of Prefect."""
        return {"prefect": importlib.metadata.version("prefect")}

    def start_server(self) -> None:
        """Start the process that submits tasks, as a web application would."""
        argv = [sys.executable, "flows/delay_tasks.py"]
        self.spawn("server-delay", argv, self.ground.prefect(), pipe=True)
        self.ask("server-delay", [Job.noop, 0])  # when it answers, it has imported everything

    def start(self) -> None:
        """Start the process that executes the tasks."""
        self.spawn("serve", [sys.executable, "flows/serve_tasks.py"], self.ground.prefect())

    @property
    def servers(self) -> list[int]:
        """The servers without the process that submits, which is part of the measurement."""
        return super().servers[1:]

    def submit(self, job: Job, count: int) -> list[str]:
        """Submit the tasks by `delay`."""
        return list(self.ask("server-delay", [job, count]))

    def timings(self, ids: Sequence[str]) -> dict[str, Timing]:
        """Return the timings that the server has stored for the task runs and their logs."""
        rows = self.ground.query("prefect", RUNS, (list(TERMINAL), list(ids)))
        lines = dict(self.ground.query("prefect", LINES, (list(ids), FIRST_LINE)))
        return {
            key: Timing(
                created,
                lines.get(key),
                ended if key in lines or state != "COMPLETED" else None,
                state if ended and state != "COMPLETED" else None,
            )
            for key, created, ended, state in rows
        }

"""DBOS: a queue with durable steps that needs nothing but PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import environments
from benchmarks.contender import Contender, Job, Timing

if TYPE_CHECKING:
    from collections.abc import Sequence

MIGRATE_SECONDS = 60
ROWS = """
    select workflow_uuid, created_at / 1000.0::float8,
           case when status in ('SUCCESS', 'ERROR', 'CANCELLED')
                then coalesce(completed_at, updated_at) / 1000.0::float8 end,
           status
    from dbos.workflow_status where workflow_uuid = any(%s)
"""

UNFINISHED = """
    do $$ begin
        if to_regclass('dbos.workflow_status') is not null then
            delete from dbos.workflow_status where status in ('ENQUEUED', 'PENDING');
        end if;
    end $$
"""


class Dbos(Contender):
    """DBOS, which runs workflows in threads of one process."""

    name = "dbos"
    title = "DBOS"
    uses_prefect = False
    unfinished = (("dbos", UNFINISHED),)

    def prepare(self) -> None:
        """Create its environment and its database."""
        self.python = environments.python("dbos")
        self.ground.make_database("dbos")

    def versions(self) -> dict[str, str]:
        """Return the versions of DBOS and its database driver."""
        return environments.versions(self.python, ["dbos", "psycopg", "sqlalchemy"])

    def start_server(self) -> None:
        """Start the process that enqueues workflows, as a web application would."""
        self._spawn("server-ask", "ask", pipe=True)
        self.ask("server-ask", [Job.noop, 0])  # when it answers, it has imported everything

    def start(self) -> None:
        """Start the process that executes the workflows."""
        self._spawn("worker", "work", pipe=False)

    def _spawn(self, name: str, what: str, *, pipe: bool) -> None:
        env = {"BENCH_DBOS": self.ground.url("dbos", "postgresql")}
        self.spawn(name, [self.python, "flows/dbos_jobs.py", what], env, pipe=pipe)

    @property
    def servers(self) -> list[int]:
        """No process: the one that enqueues is part of the measurement."""
        return []

    def submit(self, job: Job, count: int) -> list[str]:
        """Enqueue the workflows, as soon as the tables and the queue exist."""
        self.until("queue of DBOS", self._has_queue, MIGRATE_SECONDS)
        return list(self.ask("server-ask", [job, count]))

    def timings(self, ids: Sequence[str]) -> dict[str, Timing]:
        """Return the timings that DBOS has stored for the workflows."""
        lines = self.ground.first_lines(ids)
        return {
            key: Timing(
                float(created),
                lines.get(key),
                float(ended) if ended else None,
                status if ended and status != "SUCCESS" else None,
            )
            for key, created, ended, status in self.ground.query("dbos", ROWS, (list(ids),))
        }

    def _has_queue(self) -> bool:
        exists = self.ground.query("dbos", "select to_regclass('dbos.queues') is not null")[0][0]
        return bool(exists and self.ground.query("dbos", "select 1 from dbos.queues"))

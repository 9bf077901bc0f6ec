"""DBOS: a plain queue on PostgreSQL alone, with durable steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import environments, marks
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
    """Runs workflows in threads of one process."""

    name = "dbos"
    title = "DBOS"
    uses_prefect = False
    unfinished = (("dbos", UNFINISHED),)

    def prepare(self) -> None:
        """Make its environment and its database."""
        self.python = environments.python("dbos")
        self.ground.make_database("dbos")

    def versions(self) -> dict[str, str]:
        """DBOS and its driver."""
        return environments.versions(self.python, ["dbos", "psycopg", "sqlalchemy"])

    def start_server(self) -> None:
        """Start the process that enqueues, as a web application would."""
        self._spawn("server-ask", "ask", pipe=True)
        self.ask("server-ask", [Job.noop, 0])  # it has imported all when it answers

    def start(self) -> None:
        """Start the process that runs the workflows."""
        self._spawn("worker", "work", pipe=False)

    def _spawn(self, name: str, what: str, *, pipe: bool) -> None:
        env = {"BENCH_DBOS": self.ground.url("dbos", "postgresql")}
        self.spawn(name, [self.python, "flows/dbos_jobs.py", what], env, pipe=pipe)

    @property
    def servers(self) -> list[int]:
        """None: the process that asks is a part of the measuring."""
        return []

    def submit(self, job: Job, count: int) -> list[str]:
        """As soon as the tables and the queue are there."""
        self.until("queue of DBOS", self._has_queue, MIGRATE_SECONDS)
        return list(self.ask("server-ask", [job, count]))

    def timings(self, ids: Sequence[str]) -> dict[str, Timing]:
        """As DBOS has stored the workflows."""
        lines = marks.first_lines(self.ground, ids)
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
        there = self.ground.query("dbos", "select to_regclass('dbos.queues') is not null")[0][0]
        return bool(there and self.ground.query("dbos", "select 1 from dbos.queues"))

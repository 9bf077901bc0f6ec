"""Show an existing job's steps as runs on a Prefect server, before the job is moved to Prefect.

Copy this folder next to the job. It needs Python 3.9 and nothing else: no Prefect, which an
environment that holds Airflow cannot take. `flow` and `task` are written as Prefect's own, so that
migrating is a change of the import.

Read from the environment, by Prefect's names: `PREFECT_API_URL`, `PREFECT_API_AUTH_STRING` or
`PREFECT_API_KEY`, and `PREFECT_LOGGING_EXTRA_LOGGERS` to choose loggers, all of them where it is
unset. Without `PREFECT_API_URL` the job runs untracked.

The job does not wait for the server while it works: a thread sends what happened. What it calls is
called once, and what that returns or raises comes out as it is, whatever becomes of the server. The
end of the outermost run waits for what is left to be sent: at most 5 seconds while the server gives
no answer, at most 60 in all.
"""

from .tracked import end, flow, part_of, task

__all__ = ["end", "flow", "part_of", "task"]

"""Shows the steps of an existing job as runs on a Prefect server, before the job moves to Prefect.

Copy this folder next to the job. It needs Python 3.9 and nothing else, not even Prefect, which
cannot be installed beside Airflow. `flow` and `task` are used like Prefect's own, so that migrating
the job only means changing the import.

It reads Prefect's own environment variables: `PREFECT_API_URL`, `PREFECT_API_AUTH_STRING` or
`PREFECT_API_KEY`, and `PREFECT_LOGGING_EXTRA_LOGGERS` to choose loggers; if that is unset, all
loggers are tracked. Without `PREFECT_API_URL` the job runs untracked.

The job does not wait for the server while it works, since a thread sends what happened. Whatever
the state of the server, each decorated function is called exactly once, and its result or error is
passed on unchanged. The end of the outermost run waits until everything is sent: at most 5 seconds
while the server does not answer, and at most 60 in all.
"""

from .tracked import end, flow, part_of, task

__all__ = ["end", "flow", "part_of", "task"]

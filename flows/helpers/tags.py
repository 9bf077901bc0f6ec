"""Adds tags to a flow run while it runs."""

import threading

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

# Serializes the tasks that run in threads of this process.
_lock = threading.Lock()
ATTEMPTS = 5


def add_tags(*tags: str) -> frozenset[str]:
    """Add `tags` to the current flow run, from the flow itself or from one of its tasks.

    Tags are any strings; the convention here is `key:value`, as in `env:pro`. Tags that the run
    already has stay. A task adds tags to its flow run, never to itself: the tags of a task run are
    fixed when it is created, by `with tags(...)` or `with_options(tags=...)`.

    The server can only replace all tags of a run at once, so this function writes and reads them
    until its own are there. Within one process no tag is lost, whichever thread adds it. A tag
    that another process, or a person in the UI, writes at the same moment may be lost.

    The call blocks until the server has answered. In an async flow that must not be blocked, use
    `await asyncio.to_thread(add_tags, "env:pro")`.

    Returns:
        All tags that the run has afterwards.

    Raises:
        RuntimeError: The call is not made in a run, or others keep overwriting the tags.
    """
    if flow_run.id is None:
        raise RuntimeError("add_tags: expected a call in a flow or a task, found no flow run")
    with _lock, get_client(sync_client=True) as client:
        for _ in range(ATTEMPTS):
            present = set(client.read_flow_run(flow_run.id).tags)
            if present.issuperset(tags):
                return frozenset(present)
            client.update_flow_run(flow_run.id, tags=present.union(tags))
    raise RuntimeError(f"add_tags: {', '.join(tags)} was overwritten {ATTEMPTS} times")

"""Tags that a flow run gets while it runs."""

import threading

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

# Of one process: tasks that run in its threads add one after another.
_adding = threading.Lock()
ATTEMPTS = 5


def add_tags(*tags: str) -> frozenset[str]:
    """Add `tags` to the flow run that this is called in, from the flow itself or from a task.

    Tags are any strings; the convention here is `key:value`, as in `env:pro`. Those that the run
    has already stay. A task adds to the flow run, never to itself: what a task run is tagged with
    is fixed when it is made, by `with tags(...)` or `with_options(tags=...)`.

    The server can only replace the tags of a run as a whole, so this reads, writes and reads again
    until its own are there. Within a process no tag is ever lost, whichever thread adds it. A tag
    that another process, or a person in the UI, writes at the very same moment may be.

    It waits for the server. An async flow that must not wait calls it by
    `await asyncio.to_thread(add_tags, "env:pro")`.

    Returns:
        All tags that the run has afterwards.

    Raises:
        RuntimeError: not called in a run, or the tags are overwritten again and again.
    """
    if flow_run.id is None:
        raise RuntimeError("add_tags: expected a call in a flow or a task, found no flow run")
    with _adding, get_client(sync_client=True) as client:
        for _ in range(ATTEMPTS):
            found = set(client.read_flow_run(flow_run.id).tags)
            if found.issuperset(tags):
                return frozenset(found)
            client.update_flow_run(flow_run.id, tags=found.union(tags))
    raise RuntimeError(f"add_tags: {', '.join(tags)} was overwritten {ATTEMPTS} times")

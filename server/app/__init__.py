"""The server process: Prefect's own app, with additions that keep runs and slots from being lost.

`python -m server.app` runs it. Prefect's app is wrapped in layers of plain ASGI, outermost first:
who may call the server (`access`), which paths are closed (`gates`), which integers are too large
(`integers`), which run takes a lease (`callers`), and how requests are answered while the database
is away (`outage`). A background task returns slots of concurrency limits that nobody holds any more
(`reclaimer`). Only `upstream` uses internals of Prefect that may change without notice.
"""

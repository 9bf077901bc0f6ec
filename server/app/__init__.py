"""The server process: Prefect's own app, started by us, with what it needs to lose nothing.

`python -m server.app` runs it. Around Prefect's app are layers of plain ASGI, outermost first: who
may call (`access`), what is closed (`gates`), who takes a lease (`callers`), and what an outage of
the database answers (`outage`). Beside it runs the task that gives back places of concurrency
limits which nobody holds any more (`reclaimer`). Parts of Prefect that it does not promise to keep
are in `upstream`, and nowhere else.
"""

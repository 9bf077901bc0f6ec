"""The flow `hello`: a minimal example with a task, a subflow, tags and logs."""

from prefect import flow, get_run_logger, tags, task


@task(name="hello.greet")
def greet(name: str) -> str:
    """Return the greeting for `name`."""
    greeting = f"Hello, {name}!"
    get_run_logger().info(greeting)
    return greeting


@task(name="hello.farewell.wave")
def wave(name: str) -> str:
    """Return the farewell for `name`."""
    farewell = f"Goodbye, {name}!"
    get_run_logger().info(farewell)
    return farewell


@flow(name="hello.farewell")
def say_farewell(name: str) -> str:
    """Say goodbye, in a subflow run of the flow run that calls it.

    Args:
        name: Person to say goodbye to.

    Returns:
        The farewell.
    """
    return wave(name)


@flow(name="hello")
def hello(name: str = "world") -> str:
    """Say hello, then goodbye.

    All task runs and subflow runs are tagged with `type:greeting`.

    Args:
        name: Person to greet.

    Returns:
        The greeting.
    """
    with tags("type:greeting"):
        greeting = greet(name)
        say_farewell(name)
    return greeting

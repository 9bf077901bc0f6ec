"""The flow `hello`: the smallest one that has a task, a subflow, tags and logs."""

from prefect import flow, get_run_logger, tags, task


@task(name="hello.greet")
def greet(name: str) -> str:
    """The greeting of `name`."""
    greeting = f"Hello, {name}!"
    get_run_logger().info(greeting)
    return greeting


@task(name="hello.farewell.wave")
def wave(name: str) -> str:
    """The farewell of `name`."""
    farewell = f"Goodbye, {name}!"
    get_run_logger().info(farewell)
    return farewell


@flow(name="hello.farewell")
def say_farewell(name: str) -> str:
    """Say goodbye, as a flow run of its own below the one that calls it.

    Args:
        name: Who is leaving.

    Returns:
        The farewell.
    """
    return wave(name)


@flow(name="hello")
def hello(name: str = "world") -> str:
    """Say hello, then goodbye.

    Every run below this one is tagged `type:greeting`.

    Args:
        name: Whom to greet.

    Returns:
        The greeting.
    """
    with tags("type:greeting"):
        greeting = greet(name)
        say_farewell(name)
    return greeting

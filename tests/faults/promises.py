"""The promises that the stack makes to a run. The tests of this folder name them by number."""

from __future__ import annotations

PROMISES: dict[int, str] = {
    1: "What was accepted ends: exactly once Completed, or in a terminal state whose message "
    "says the truth. What finished its work is not called Crashed or Failed because the "
    "server was away when it said so: the end of a run is reported again, with growing "
    "pauses, until the server takes it or a day has passed, across a restart of the worker.",
    2: "What was taken and never begun goes back to Scheduled, and runs.",
    3: "A run without a process is found within 60 s of the database's return, whatever its "
    "state, and its places in pool, deployment and global limits are free.",
    4: "Global limits lose no slot when the server, the worker or all processes die; what a "
    "killed server left is given back within 60 s.",
    5: "No outage of the database, of its connections or of the disk that ends needs a hand "
    "afterwards, nor ends a process that others depend on. A full data folder of flows hurts "
    "its writer only.",
    6: "Health tells the truth: `scripts/stack status` names what is wrong and exits with 1, and "
    "`up` returns only when all is steadily well.",
    7: "One flow that does not import, or one deployment that is wrong, keeps nobody else down: "
    "bootstrap applies the rest, says so and exits with 2; the stack stays up.",
    8: "Nothing of one clone touches another's data, be it copied, moved or renamed.",
    9: "What is damaged is named and refused, or repaired, with what to do.",
    10: "Two commands at once wait for each other and say so.",
}

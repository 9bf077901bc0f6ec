"""Measures the contenders one at a time, and records their figures."""

from __future__ import annotations

import datetime as dt
import os
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from benchmarks import machine, measures, profile, soak, table
from benchmarks.contender import Contender, Job
from benchmarks.ground import WIDTH, Ground, ground
from benchmarks.measures import Measure
from benchmarks.relay import relaying
from benchmarks.results import Results, Sample, read
from scripts import report as console
from server.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.measures import Sizes

ATTEMPTS = 2

Item = TypeVar("Item")


class Bench:
    """One run of the benchmarks."""

    def __init__(
        self,
        ground: Ground,
        sizes: Sizes,
        wanted: Sequence[Measure],
        soaked: Sequence[str],
        to: Path,
    ) -> None:
        self.soaked = soaked
        self.ground = ground
        self.sizes = sizes
        self.wanted = wanted
        self.to = to
        self.results = Results(
            taken=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            command=shlex.join(["scripts/stack", *sys.argv[1:]]),
            machine=machine.describe(ground),
            settings={**asdict(sizes), "width": WIDTH},
            titles={},
            versions={},
        )

    def add_to(self, earlier: Results) -> None:
        """Add the new figures to those of an `earlier` run."""
        command = f"{earlier.command} && {self.results.command}"
        self.results = earlier.model_copy(update={"command": command})

    def run(self, kinds: Sequence[type[Contender]]) -> Results:
        """Measure these contenders.

        A round that fails is repeated once. If it fails again, the contender is left out from then
        on, with the reason; its earlier figures are kept.
        """
        try:
            contenders = [ready for kind in kinds if (ready := self._prepare(kind))]
            self.rounds(contenders)
            for contender in contenders:
                if Measure.profile in self.wanted and contender.name == table.OURS:
                    self._profile()
            for contender in contenders:
                wanted = Measure.soak in self.wanted and contender.name in self.soaked
                if wanted and Job.noise in contender.jobs:
                    self._soak(contender)
        finally:
            self.results.write(self.to)
        return self.results

    def rounds(self, contenders: list[Contender]) -> None:
        """Measure all contenders in each round; remove those that are left out from the list."""
        # Round 0 warms up what is slow only the first time: file caches, databases, bytecode.
        rounds = self.sizes.rounds if set(self.wanted) & measures.OF_ROUNDS else 0
        for number in range(rounds + 1):
            for contender in rotate(contenders, number, rounds):
                if why := self._try_round(contender, number):
                    self._leave_out(contender, why)
                    contenders.remove(contender)
                self.results.write(self.to)

    def _try_round(self, contender: Contender, number: int) -> str | None:
        """Run the round, and repeat it once if it fails; return None, or why it failed again."""
        why = None
        for attempt in range(ATTEMPTS):
            if attempt:
                self.results.drop(contender.name, number)
                contender.forget()
            why = self._attempt(contender, lambda: self._round(contender, number))
            if why is None:
                break
        return why

    def _attempt(self, contender: Contender, act: Callable[[], None]) -> str | None:
        """Call `act`, then stop the contender; return None, or why `act` failed, in one line."""
        try:
            try:
                act()
            finally:
                contender.stop()
        except Exception as error:  # noqa: BLE001 - a failing contender must not stop the others
            console.out.print(f"failed: {error or repr(error)}")
            return " ".join((error.what if isinstance(error, StackError) else repr(error)).split())
        return None

    def _profile(self) -> None:
        console.out.print("profile: where the time of a start goes")
        self.ground.serve(prefect=True)
        with relaying(self.ground.values.stack_port) as relay:
            watched = profile.Watched(self.ground, relay)

            def act() -> None:
                self.results.profile = profile.medians(profile.measure(watched, profile.RUNS))

            self._attempt(watched, act)
        for part, value in self.results.profile.items():
            console.out.print(f"  {value:6.0f} ms  {part}")
        self.results.write(self.to)

    def _soak(self, contender: Contender) -> None:
        console.out.print(f"soak: {contender.title}")
        seen: soak.Seen = {}

        def act() -> None:
            self.ground.serve(prefect=contender.uses_prefect)
            contender.start_server()
            seen.update(soak.run(contender, self.sizes.soak))

        if why := self._attempt(contender, act):
            seen["verdict"] = why
        for name, value in seen.items():
            console.out.print(f"  {name:<20} {value}")
        self.results.soaks[contender.name] = seen
        self.results.write(self.to)

    def _prepare(self, kind: type[Contender]) -> Contender | None:
        self.results.titles[kind.name] = kind.title
        contender = kind(self.ground)

        def act() -> None:
            if reason := kind.why_not():
                raise StackError(reason)
            self.ground.serve(prefect=kind.uses_prefect)
            contender.prepare()
            self.results.versions[kind.name] = contender.versions()

        if why := self._attempt(contender, act):
            self._leave_out(contender, why)
            return None
        return contender

    def _leave_out(self, contender: Contender, why: str) -> None:
        self.results.left_out[contender.name] = why
        console.out.print(f"left out: {contender.title}: {why}")

    def _round(self, contender: Contender, number: int) -> None:
        console.out.print(f"round {number}: {contender.title} (load {machine.load()})")
        self.ground.serve(prefect=contender.uses_prefect)
        contender.start_server()
        self._keep(contender, number, measures.ready(contender))
        if number == 0:
            return
        for measure, ask in measures.EACH_ROUND.items():
            if measure in self.wanted and not self.enough(contender.name, measure):
                self._keep(contender, number, ask(contender, self.sizes))

    def enough(self, contender: str, measure: Measure) -> bool:
        """Return whether a measure took this contender too long to repeat it in another round."""
        rates = self.results.values(contender, Measure.burst)
        took = {
            Measure.burst: [self.sizes.burst * 60 / rate for rate in rates],
            Measure.steps: self.results.values(contender, "steps-light"),
        }
        return any(seconds > measures.SLOW_SECONDS for seconds in took.get(measure, ()))

    def _keep(self, contender: Contender, number: int, figures: Iterator[measures.Figures]) -> None:
        for name, values in figures:
            line = " ".join(f"{value:.4g}" for value in values)
            console.out.print(f"  {name:<14} {line}")
            if number and name.partition("-")[0] in self.wanted:
                sample = Sample(
                    contender=contender.name,
                    measure=name,
                    round=number,
                    values=values,
                    load=os.getloadavg()[0],
                )
                self.results.samples.append(sample)


def rotate(contenders: Sequence[Item], number: int, rounds: int) -> list[Item]:
    """Return their order in round `number`, rotated so that no contender is always first."""
    first = number * len(contenders) // max(rounds, 1)
    first %= max(len(contenders), 1)
    return [*contenders[first:], *contenders[:first]]


def run(contenders: Sequence[str], wanted: Sequence[Measure], sizes: Sizes, to: Path) -> Results:
    """Measure, and write the raw figures to the file `to` after every round of a contender.

    If no contender is named, all are measured, but only ours gets the soak. If only the soak or the
    profile is measured, which are not part of the rounds, the figures are added to the file.

    Raises:
        MistakeError: The figures cannot be added, since the file contains something else.
    """
    kinds = [table.BY_NAME[name] for name in contenders] or list(table.CONTENDERS)
    alone = not set(wanted) & measures.OF_ROUNDS
    earlier = read(to) if alone and to.exists() else None
    with ground() as ready:
        bench = Bench(ready, sizes, wanted, contenders or [table.OURS], to)
        if earlier:
            bench.add_to(earlier)
        return bench.run(kinds)

"""Runs the contenders one at a time, A B C A B C, and writes down what they gave."""

from __future__ import annotations

import datetime as dt
import os
import shlex
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import httpx
import psycopg2

from scripts import report as console
from server.errors import StackError
from tests.benchmarks import machine, measures, soak, table
from tests.benchmarks.contender import Contender, Job
from tests.benchmarks.ground import WIDTH, Ground, ground
from tests.benchmarks.measures import Measure
from tests.benchmarks.results import Results, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.benchmarks.measures import Sizes

# What goes wrong with one contender and is nothing to the others.
FAULTS = (StackError, httpx.HTTPError, psycopg2.Error, subprocess.SubprocessError, OSError)


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
        """Know what to do; nothing is measured."""
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

    def run(self, kinds: Sequence[type[Contender]]) -> Results:
        """Measure these contenders; one that fails is left out, with the reason, from there on."""
        taking_part = [made for kind in kinds if (made := self._prepared(kind))]
        # Round 0 warms up what is only slow the first time: caches of files, databases, bytecode.
        rounds = self.sizes.rounds if set(self.wanted) - {Measure.soak} else 0
        for number in range(rounds + 1):
            for contender in list(taking_part):
                try:
                    self._round(contender, number)
                except FAULTS as error:
                    self._leave_out(contender, error)
                    taking_part.remove(contender)
                finally:
                    contender.stop()
                self.results.write(self.to)
        if Measure.soak in self.wanted:
            for contender in taking_part:
                if contender.name in self.soaked and Job.noise in contender.jobs:
                    self._soak(contender)
        return self.results

    def _soak(self, contender: Contender) -> None:
        console.out.print(f"soak: {contender.title}")
        try:
            self.ground.serve(prefect=contender.uses_prefect)
            contender.start_server()
            contender.start()
            seen = soak.run(contender, self.sizes.soak)
        except FAULTS as error:
            seen = {"verdict": str(error)}
        finally:
            contender.stop()
        for name, value in seen.items():
            console.out.print(f"  {name:<20} {value}")
        self.results.soaks[contender.name] = seen
        self.results.write(self.to)

    def _prepared(self, kind: type[Contender]) -> Contender | None:
        self.results.titles[kind.name] = kind.title
        contender = kind(self.ground)
        try:
            if reason := kind.why_not():
                raise StackError(reason)
            self.ground.serve(prefect=kind.uses_prefect)
            contender.prepare()
            self.results.versions[kind.name] = contender.versions()
        except FAULTS as error:
            contender.stop()
            self._leave_out(contender, error)
            return None
        return contender

    def _leave_out(self, contender: Contender, error: Exception) -> None:
        what = error.what if isinstance(error, StackError) else repr(error)
        self.results.left_out[contender.name] = what
        console.out.print(f"left out: {error}")

    def _round(self, contender: Contender, number: int) -> None:
        console.out.print(f"round {number}: {contender.title} (load {machine.load()})")
        self.ground.serve(prefect=contender.uses_prefect)
        contender.start_server()
        self._keep(contender, number, measures.ready(contender))
        if number == 0:
            return
        for measure, ask in measures.EACH_ROUND.items():
            if measure in self.wanted:
                self._keep(contender, number, ask(contender, self.sizes))

    def _keep(self, contender: Contender, number: int, figures: Iterator[measures.Figures]) -> None:
        for name, values in figures:
            shown = " ".join(f"{each:.4g}" for each in values)
            console.out.print(f"  {name:<14} {shown}")
            if number and name.partition("-")[0] in self.wanted:
                sample = Sample(
                    contender=contender.name,
                    measure=name,
                    round=number,
                    values=values,
                    load=os.getloadavg()[0],
                )
                self.results.samples.append(sample)


def run(contenders: Sequence[str], wanted: Sequence[Measure], sizes: Sizes, to: Path) -> Results:
    """Measure and write the raw figures to the file `to`, after each contender's round.

    All contenders take part where none is named. The soak is for those that are named, else ours.
    """
    kinds = [table.BY_NAME[name] for name in contenders] or list(table.CONTENDERS)
    with ground() as made:
        return Bench(made, sizes, wanted, contenders or [table.OURS], to).run(kinds)

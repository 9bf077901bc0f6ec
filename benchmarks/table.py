"""The table of all contenders, in their order before rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders.airflow import Airflow
from benchmarks.contenders.dagster import Dagster
from benchmarks.contenders.dbos import Dbos
from benchmarks.contenders.flow_serve import FlowServe
from benchmarks.contenders.prefork import Prefork
from benchmarks.contenders.stock import Stock
from benchmarks.contenders.stock_tuned import StockTuned
from benchmarks.contenders.task_serve import TaskServe

if TYPE_CHECKING:
    from benchmarks.contender import Contender

CONTENDERS: tuple[type[Contender], ...] = (
    Prefork,
    Stock,
    StockTuned,
    FlowServe,
    TaskServe,
    Dbos,
    Dagster,
    Airflow,
)
OURS = Prefork.name
BY_NAME = {each.name: each for each in CONTENDERS}

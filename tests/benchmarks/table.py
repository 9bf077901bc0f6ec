"""All contenders, in the order in which each round takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.contenders.airflow import Airflow
from tests.benchmarks.contenders.dagster import Dagster
from tests.benchmarks.contenders.dbos import Dbos
from tests.benchmarks.contenders.flow_serve import FlowServe
from tests.benchmarks.contenders.prefork import Prefork
from tests.benchmarks.contenders.stock import Stock
from tests.benchmarks.contenders.stock_tuned import StockTuned
from tests.benchmarks.contenders.task_serve import TaskServe

if TYPE_CHECKING:
    from tests.benchmarks.contender import Contender

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

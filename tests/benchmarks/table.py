"""All contenders, in the order in which each round takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.contenders.prefork import Prefork
from tests.benchmarks.contenders.stock import Stock
from tests.benchmarks.contenders.stock_tuned import StockTuned

if TYPE_CHECKING:
    from tests.benchmarks.contender import Contender

CONTENDERS: tuple[type[Contender], ...] = (Prefork, Stock, StockTuned)
BY_NAME = {each.name: each for each in CONTENDERS}

"""Stores the leases of concurrency limits in PostgreSQL, next to the slots that they hold.

Prefect keeps leases in the server's memory: after a restart it has forgotten them, never releases
their slots, and the slots are lost for ever. Its other storage is a folder, which a server in a
container does not keep. `PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE` names this module.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from server.app import callers
from server.app.upstream import (
    LeaseHolder,
    LeaseMetadata,
    LeaseStorage,
    ResourceLease,
    database_url,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    Lease = ResourceLease[LeaseMetadata]

LEASES = sa.Table(
    "stack_concurrency_lease",
    sa.MetaData(),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("resource_ids", ARRAY(sa.Uuid), nullable=False),  # of the limits
    sa.Column("slots", sa.Integer),  # taken of each limit; null if the lease has no metadata
    sa.Column("holder_type", sa.Text),  # flow_run, task_run or deployment; null if unknown
    sa.Column("holder_id", sa.Uuid),
    sa.Column("deployment_id", sa.Uuid),  # of the run that took the lease, see `server.app.callers`
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expiration", sa.DateTime(timezone=True), nullable=False),
)
LOCK_KEY = int.from_bytes(b"leases", "big")  # of an advisory lock; unique, as in migrate.py
# A separate pool, to avoid a deadlock: a route takes a lease while it holds one of Prefect's
# connections, and many such routes would wait for each other to release a second one.
POOL_SIZE = 2
CONNECT_SECONDS, WAIT_SECONDS, COMMAND_SECONDS = 5, 5, 10

_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()


def _engine() -> AsyncEngine:
    loop = asyncio.get_running_loop()
    if loop not in _engines:
        _engines[loop] = create_async_engine(
            database_url(),
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            pool_pre_ping=True,
            connect_args={"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS},
        )
    return _engines[loop]


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Create the table if it is missing; on exit, close the connections."""
    async with _engine().begin() as connection:
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY)))
        await connection.run_sync(LEASES.metadata.create_all)
    try:
        yield
    finally:
        await _engines.pop(asyncio.get_running_loop()).dispose()


class ConcurrencyLeaseStorage(LeaseStorage):
    """Implements Prefect's lease storage; Prefect requires this class name.

    Instances have no state, because Prefect creates a new one for each use.
    """

    async def create_lease(
        self,
        resource_ids: list[UUID],
        ttl: timedelta,
        metadata: LeaseMetadata | None = None,
    ) -> Lease:
        """Store a new lease that expires after `ttl`; the caller is its holder if none is given."""
        lease: Lease = ResourceLease(
            resource_ids=resource_ids, metadata=metadata, expiration=_now() + ttl
        )
        caller = callers.current()
        holder = metadata.holder if metadata else None
        if metadata and holder is None and caller.flow_run_id:
            holder = LeaseHolder(type="flow_run", id=caller.flow_run_id)
        values = {
            "id": lease.id,
            "resource_ids": resource_ids,
            "slots": metadata.slots if metadata else None,
            "holder_type": holder.type if holder else None,
            "holder_id": holder.id if holder else None,
            "deployment_id": caller.deployment_id,
            "created_at": lease.created_at,
            "expiration": lease.expiration,
        }
        await _execute(LEASES.insert().values(**values))
        return lease

    async def read_lease(self, lease_id: UUID) -> Lease | None:
        """The lease, whether expired or not; None if it does not exist."""
        rows = await _execute(LEASES.select().where(LEASES.c.id == lease_id))
        return _lease(rows[0]) if rows else None

    async def renew_lease(self, lease_id: UUID, ttl: timedelta) -> bool:
        """Let the lease expire after `ttl` from now; False if it does not exist."""
        update = LEASES.update().where(LEASES.c.id == lease_id).values(expiration=_now() + ttl)
        return bool(await _execute(update.returning(LEASES.c.id)))

    async def revoke_lease(self, lease_id: UUID) -> None:
        """Delete the lease; releasing its slots is left to the caller."""
        await _execute(LEASES.delete().where(LEASES.c.id == lease_id))

    async def read_active_lease_ids(self, limit: int = 100, offset: int = 0) -> list[UUID]:
        """The ids of leases that have not expired, oldest first."""
        query = sa.select(LEASES.c.id).where(LEASES.c.expiration > _now())
        query = query.order_by(LEASES.c.created_at, LEASES.c.id).limit(limit).offset(offset)
        return [row.id for row in await _execute(query)]

    async def read_expired_lease_ids(self, limit: int = 100) -> list[UUID]:
        """The ids of expired leases, the earliest expiration first."""
        query = sa.select(LEASES.c.id).where(LEASES.c.expiration <= _now())
        query = query.order_by(LEASES.c.expiration).limit(limit)
        return [row.id for row in await _execute(query)]

    async def list_holders_for_limit(self, limit_id: UUID) -> list[tuple[UUID, LeaseHolder]]:
        """The leases of one limit that have not expired and whose holders are known."""
        query = LEASES.select().where(
            sa.literal(limit_id) == sa.any_(LEASES.c.resource_ids),
            LEASES.c.expiration > _now(),
            LEASES.c.holder_id.is_not(None),
        )
        return [(row.id, _holder(row)) for row in await _execute(query)]


async def _execute(statement: sa.Executable) -> list[Any]:
    async with _engine().begin() as connection:
        result = await connection.execute(statement)
        return list(result.all()) if result.returns_rows else []


def _lease(row: Any) -> Lease:
    metadata = None
    if row.slots is not None:
        metadata = LeaseMetadata(slots=row.slots, holder=_holder(row) if row.holder_id else None)
    return ResourceLease(
        id=row.id,
        resource_ids=list(row.resource_ids),
        metadata=metadata,
        created_at=row.created_at,
        expiration=row.expiration,
    )


def _holder(row: Any) -> LeaseHolder:
    return LeaseHolder(type=row.holder_type, id=row.holder_id)


def _now() -> datetime:
    return datetime.now(UTC)

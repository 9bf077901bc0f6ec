"""How PostgreSQL is tuned; `compose.yaml` gives the same, which tests/unit/test_compose.py checks.

Sized for the memory limit of the service in `compose.yaml`, 512 MB.
"""

from __future__ import annotations

# One server keeps 5 connections and opens 10 more under load, one for the vacuum and one to listen;
# `migrate`, health checks, backups and a person with psql share the rest.
MAX_CONNECTIONS = 50

SETTINGS: dict[str, str] = {
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "128MB",
    "effective_cache_size": "320MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "48MB",
    "max_wal_size": "512MB",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    # Prefect's task and event tables are insert-and-delete; the default of a fifth lets them bloat.
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "password_encryption": "scram-sha-256",
    "log_min_duration_statement": "1000",
    "idle_in_transaction_session_timeout": "300000",
}


def arguments() -> list[str]:
    """The settings as arguments of `postgres`."""
    return [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]

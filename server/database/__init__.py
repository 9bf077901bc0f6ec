"""The stack's database: connections, migrations, roles and health checks."""

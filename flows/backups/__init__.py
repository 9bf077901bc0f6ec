"""What the flow `vtasks.backup` does, without Prefect."""

"""The work of the flow `vtasks.backup`, independent of Prefect."""

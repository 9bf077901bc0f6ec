"""The work of the flow `vtasks.expensor`, independent of Prefect."""

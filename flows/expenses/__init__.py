"""What the flow `vtasks.expensor` does, without Prefect."""

"""What the flow `export` does, without Prefect.

A package of its own because Prefect leaves the folder of a flow it loaded at the front of
`sys.path`: a helper next to the flow would hide an installed package of the same name.
"""

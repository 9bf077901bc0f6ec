"""The work of the flow `export`, independent of Prefect.

It is a package because Prefect leaves the folder of a loaded flow at the front of `sys.path`: a
module next to the flow would hide an installed package of the same name.
"""

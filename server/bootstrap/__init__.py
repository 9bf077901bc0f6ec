"""Makes a server match the declarations in `prefect.yaml` and `stack.yaml`.

Everything is read and checked before the first write, and a second run changes nothing.
"""

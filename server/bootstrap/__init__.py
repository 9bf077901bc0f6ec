"""Makes a server match what is declared: in `prefect.yaml`, and in the settings of the stack.

Reads everything and checks everything before the first write; a second run changes nothing.
"""

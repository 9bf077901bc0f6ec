"""The database of a stack: how it is opened, brought up to date, and found healthy."""

"""Flows that this stack deploys: each module here holds one flow of the same name."""

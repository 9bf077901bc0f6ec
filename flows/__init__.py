"""The flows that this stack deploys: each module here holds the flow of the same name."""

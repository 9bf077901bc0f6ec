"""What flows import: each module here holds one helper."""

"""The settings of a stack: their definitions (`model`) and how they are read (`load`)."""

from server.settings.load import load, of_file
from server.settings.model import ENV_FILE, FILE_ONLY, ROOT, SECRETS, Settings

__all__ = ["ENV_FILE", "FILE_ONLY", "ROOT", "SECRETS", "Settings", "load", "of_file"]

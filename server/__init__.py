"""What both backends share: the settings, secrets, services, server and database of a stack."""

"""Formats by language, found through the setting FORMAT_MODULE_PATH."""

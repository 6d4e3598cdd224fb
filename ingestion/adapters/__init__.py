"""Payload formats (pure): bytes in, incoming alerts out."""

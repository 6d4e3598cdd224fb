"""The browser's end of `storms.live`."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class StormsConsumer(AsyncJsonWebsocketConsumer):
    """Every storm in sight."""


class StormConsumer(AsyncJsonWebsocketConsumer):
    """One storm."""

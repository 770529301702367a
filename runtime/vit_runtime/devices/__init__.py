"""Devices: sessions on execution providers, processor cores, memory."""

"""Bytes between this machine and others: blobs fetched and sent, whatever the network does meanwhile.

Knows digests and addresses; nothing of models, registries or hubs.
"""

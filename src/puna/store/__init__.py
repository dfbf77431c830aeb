"""The models on this machine: names, where their files are, what they are; how they come, go and are made.

Knows nothing of running them.
"""

from puna.store.blobs import Blobs
from puna.store.describe import Description, TensorInfo, describe
from puna.store.layers import Config, Layer
from puna.store.names import ModelName
from puna.store.progress import Progress, Report
from puna.store.store import Details, LocalModel, Store

__all__ = [
    "Blobs",
    "Config",
    "Description",
    "Details",
    "Layer",
    "LocalModel",
    "ModelName",
    "Progress",
    "Report",
    "Store",
    "TensorInfo",
    "describe",
]

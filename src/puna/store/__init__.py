"""The models on this machine: names, where their files are, what they are. Knows nothing of running them."""

from puna.store.describe import Description, TensorInfo, describe
from puna.store.names import ModelName
from puna.store.store import Details, LocalModel, Store

__all__ = ["Description", "Details", "LocalModel", "ModelName", "Store", "TensorInfo", "describe"]

"""Models from one form into another: Hugging Face folders into GGUF, float weights into fewer bits; and what to check.

Knows nothing of stores, names and the network.
"""

from puna.conversion.importing import Import, import_adapter, import_folder, open_import
from puna.conversion.self_test import self_test

__all__ = ["Import", "import_adapter", "import_folder", "open_import", "self_test"]

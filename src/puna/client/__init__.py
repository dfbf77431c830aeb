"""A small synchronous client of a running server, for the verbs that ask one (`puna ps`, `puna stop`).

It speaks Ollama's native API, so it works against Ollama itself. It knows nothing of models, engines or terminals.
"""

from __future__ import annotations

from puna.client.client import Client, LoadedModel

__all__ = ["Client", "LoadedModel"]

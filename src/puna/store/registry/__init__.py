"""Registries that speak Docker's protocol, as Ollama's, Hugging Face's and ModelScope's do: models in and out.

Knows the store; nothing of terminals and servers.
"""

"""Puna's own error types. Each message says what is wrong and, where something can be done, what to do.

Knows nothing of HTTP or terminals: the server maps a type to a status, the CLI prints the message as one line.
"""

from __future__ import annotations


class PunaError(Exception):
    """Base of every error a user can cause or meet."""


class InvalidGGUF(PunaError):
    """A GGUF file (or a Hugging Face folder read as one) is truncated, inconsistent or hostile."""


class UnsupportedModel(PunaError):
    """The file is well-formed, but its architecture, tensor type or a feature is not one we can run."""


class InvalidTokenizer(PunaError):
    """The tokenizer described by a model file cannot be built."""


class TemplateError(PunaError):
    """A chat template is malformed, forbidden by the sandbox, or refused the messages."""


class ModelNotFound(PunaError):
    """No model of that name or path."""


class InvalidRequest(PunaError):
    """A request's value is out of range or of the wrong kind."""


class ContextOverflow(InvalidRequest):
    """The prompt does not fit the context, and nothing more may be dropped."""


class KernelError(PunaError):
    """The kernels could not be compiled, loaded or called as recorded."""


class InsufficientMemory(PunaError):
    """A model needs more memory than there is; the message has the numbers, and with what it would fit."""


class InvalidLogits(PunaError):
    """A forward pass gave NaN or infinity, or every token is forbidden: there is nothing to sample."""


class RunnerDied(PunaError):
    """The process that ran a model ended in the middle of a request; the next request starts a new one."""


class StoreError(PunaError):
    """The model store cannot be read or changed: no space left, no permission, a damaged file."""


class DigestMismatch(StoreError):
    """The bytes are not those that the digest stands for."""


class CollectionNotFound(PunaError):
    """No collection of documents of that name."""


class UnreadableDocument(PunaError):
    """A document is of a kind that nothing here reads, damaged, hostile or too large."""


class MissingPackage(PunaError):
    """What was asked for needs a package that comes with an extra."""


class Cancelled(PunaError):
    """Whoever wanted the operation wants it no more; what was fetched stays for the next time."""


class TransferError(PunaError):
    """Another machine cannot be reached, refuses, or does not send what it should."""


class ServerUnreachable(PunaError):
    """No server answers at the configured address."""


class MissingExtra(PunaError):
    """What was asked for needs an optional part of Puna that is not installed."""

"""The HTTP server: Ollama's API, OpenAI's and Anthropic's over one `Runtime`.

    app           the application: routes, error shapes
    serve         binds a socket and runs it
    security      who may call: keys, Host, Origin
    keys, keyring what each API key may do; which there are at this moment
    accounting    what each request used, for the ledger (by key, day, model) and for the metrics (Prometheus)
    accounts      keys and ledger in one SQLite file (`database`)
    body          request bodies: JSON whatever the Content-Type, checked
    caller        who calls and how urgently
    places        the requests held at once; beyond them, 503
    live          a generation seen from the event loop; a client that goes away cancels it
    idempotency   the same request again is answered from the answer there is
    ollama*       /api: translates, no more
    openai        /v1: translates, no more
    anthropic*    /v1/messages: translates, no more
    tokens        /tokenize, /detokenize
    web           the chat page at / for browsers, its files at /web
    monitoring    /health, /metrics, /api/usage
    openapi       /openapi.json, /docs; `replies.toml` says what routes reply

Knows nothing of prompts, tokens or processes.
"""

from puna.server.app import create_app
from puna.server.serve import serve

__all__ = ["create_app", "serve"]

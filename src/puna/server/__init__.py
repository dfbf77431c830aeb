"""The HTTP server: Ollama's API and OpenAI's over one `Runtime`.

    app        the application: routes, error shapes
    serve      binds a socket and runs it
    security   who may call: key, Host, Origin
    body       request bodies: JSON whatever the Content-Type, checked
    caller     who calls and how urgently
    places     the requests held at once; beyond them, 503
    live       a generation seen from the event loop; a client that goes away cancels it
    ollama     /api: translates, no more
    openai     /v1: translates, no more

Knows nothing of prompts, tokens or processes.
"""

from puna.server.app import create_app
from puna.server.serve import serve

__all__ = ["create_app", "serve"]

"""Puna beside its peers on the same model files: what docs/performance.md says is what runs here.

`python -m bench --help`, from the repository's root. Knows Puna only from outside, as a library and as a server.
"""

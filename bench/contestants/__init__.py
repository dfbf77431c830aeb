"""The engines that are compared, each in a process of its own: `python -m bench.contestants.NAME`.

A contestant reads requests and writes replies, one JSON object a line (`serving`), so that it may live in another
virtual environment than Puna: these modules import nothing but the standard library and their own engine.
"""

"""Whether a model fits a machine, how fast it will be there, what it costs: from the model's header alone.

anatomy = anatomy_of(file)                            # matrices, attention, layers
forward(anatomy, 512).total                           # operations
runner_memory(anatomy, Load(8192), threads=2).total   # bytes
plan(file, device_named("RTX 4090").rates(), Load(8192)).words
"""

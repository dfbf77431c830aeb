"""Plans as JSON: the document of `puna plan --json` and `/api/plan`. Numbers are bytes, tokens a second, seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from puna.planner.anatomy import Anatomy
from puna.planner.flops import forward
from puna.planner.plan import Plan
from puna.planner.training import TrainingPlan

# Of a speed: what an encoder, which gives a text's vector and no answer, has not.
OF_ANSWERS = ("decode", "decode_full", "batch", "first_token", "decode_bound", "joules_per_token")


def document(
    name: str, anatomy: Anatomy, plans: Sequence[Plan], training: Sequence[TrainingPlan] = ()
) -> dict[str, object]:
    """One model on some machines; `training`, where it was asked for, in their order."""
    return {
        "model": name,
        "architecture": anatomy.architecture,
        "parameters": anatomy.parameters,
        "active_parameters": anatomy.active_parameters,
        "file_bytes": anatomy.file_bytes,
        "context_length": anatomy.context_length,
        "layers": anatomy.layers,
        "kv_numbers_per_token": anatomy.cached_per_token,
        "flops_per_token": forward(anatomy, 1).total,
        "plans": [
            _plan(plan, anatomy) | ({"training": _training(training[i])} if training else {})
            for i, plan in enumerate(plans)
        ],
    }


def _plan(plan: Plan, anatomy: Anatomy) -> dict[str, object]:
    speed = None if plan.speed is None else dataclasses.asdict(plan.speed)
    if speed is not None and not anatomy.causal:
        speed |= dict.fromkeys(OF_ANSWERS)
    return {
        "machine": plan.machine,
        "verdict": plan.verdict,
        "words": plan.words,
        "context": plan.load.context,
        "parallel": plan.load.sequences,
        "kv_type": plan.load.kv_type,
        "memory": dataclasses.asdict(plan.memory) | {"total": plan.memory.total},
        "room": plan.room,
        "longest_context": plan.longest_context,
        "options": [dataclasses.asdict(option) for option in plan.options],
        "speed": speed,
    }


def _training(training: TrainingPlan) -> dict[str, object]:
    own = {field.name: getattr(training, field.name) for field in dataclasses.fields(training)}
    flops = dataclasses.asdict(training.flops) | {"total": training.flops.total, "factor": training.flops.factor}
    del own["step"]
    return own | {"flops": flops, "memory": training.memory}

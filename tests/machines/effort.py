"""How often and how far a machine is run."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

DEEP = 50
"""So many times as often with the profile `deep`, and twice as far."""


def effort(examples: int, steps: int) -> settings:
    """Settings for so many examples of so many steps; more with the profile `deep`. Never a deadline."""
    deep = settings.get_current_profile_name() == "deep"
    return settings(
        max_examples=examples * DEEP if deep else examples,
        stateful_step_count=steps * 2 if deep else steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )

"""The table of rules: one for each primitive that is followed."""

from gpnas.units import (
    rules_control,
    rules_elementwise,
    rules_index,
    rules_linear,
    rules_shape,
)
from gpnas.units.rule import Rule
from gpnas.units.trace import Step

RULES: dict[str, Rule] = {
    **rules_elementwise.RULES,
    **rules_linear.RULES,
    **rules_shape.RULES,
    **rules_index.RULES,
    **rules_control.RULES,
}
UNKNOWN = Rule(shrink=lambda step, args, to: step.alone(*args))


def rule_of(step: Step) -> Rule:
    """The rule of a step's primitive; one that ties nothing and frees nothing if there is none."""
    return RULES.get(step.name, UNKNOWN)

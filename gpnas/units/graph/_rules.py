"""The table of rules: one for each primitive that is followed."""

from gpnas.units.graph import (
    _rules_control,
    _rules_elementwise,
    _rules_index,
    _rules_linear,
    _rules_shape,
)
from gpnas.units.graph._rule import Rule
from gpnas.units.graph._trace import Step

RULES: dict[str, Rule] = {
    **_rules_elementwise.RULES,
    **_rules_linear.RULES,
    **_rules_shape.RULES,
    **_rules_index.RULES,
    **_rules_control.RULES,
}
UNKNOWN = Rule(shrink=lambda step, args, to: step.alone(*args))


def rule_of(step: Step) -> Rule:
    """The rule of a step's primitive; one that ties nothing and frees nothing if there is none."""
    return RULES.get(step.name, UNKNOWN)

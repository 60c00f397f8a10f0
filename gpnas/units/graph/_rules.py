"""The table of rules by primitive."""

from gpnas.units.graph import (
    _rules_control,
    _rules_elementwise,
    _rules_index,
    _rules_linear,
    _rules_shape,
)
from gpnas.units.graph._rule import Rule
from gpnas.units.graph._trace import Op

RULES: dict[str, Rule] = {
    **_rules_elementwise.RULES,
    **_rules_linear.RULES,
    **_rules_shape.RULES,
    **_rules_index.RULES,
    **_rules_control.RULES,
}
UNKNOWN = Rule(shrink=lambda op, args, to: op.as_traced(*args))


def rule_of(op: Op) -> Rule:
    """Returns the rule of a primitive; for an unknown one, a rule that fixes all its nodes."""
    return RULES.get(op.name, UNKNOWN)

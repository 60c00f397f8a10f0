"""Initializations of grown units.

A unit is new if it is inactive in the unit masks before and active in those after. Each function
returns an initialization, which sets only the entries of new units: `init(variables, groups,
before, after, key, entry_masks=None) → variables`.

`before` and `after` are unit masks, `{group: (size,) bool}`; missing groups are active.
`entry_masks` are masks of single weights, as for `weight_masks`. Entries that also belong to an
inactive unit, or that an entry mask excludes, stay zero. Biases (and other added leaves) start at
zero, scales and variances (and other factors) at the mean over active units. For an unknown group,
or new units that cannot be initialized this way, an initialization raises `UserError`.

An initialization can be jitted. A group whose masks are traced counts as growing; masks of the
other groups may be arrays on the host.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError, check_choice
from gpnas.masks import tree
from gpnas.units._groups import Member, UnitGroup
from gpnas.units._grow_init import (
    Given,
    Growth,
    Init,
    fill_grown,
    he_normal,
    init_from_vectors,
    is_concrete,
    make_init,
    rank,
    zero_masked,
    zeros,
)
from gpnas.units._indexing import owned_indices, put_units, take_units
from gpnas.units.graph import BOTH, CONSUMES, PRODUCES

__all__ = ["Init", "active_fan_in", "gradmax", "net2net", "orthogonal", "random", "zero_outgoing"]


def zero_outgoing(scale: float = 1.0) -> Init:
    """Draws incoming weights from N(0, scale² · 2 / active fan-in) and sets outgoing ones to zero.

    Args:
      scale: 1 is He initialization with the active fan-in.

    Raises:
      UserError: From the init, if an op sums over the activations of new units themselves.
    """
    return make_init(
        lambda new: fill_grown(new, {PRODUCES: he_normal(new, scale), CONSUMES: zeros})
    )


def active_fan_in(scale: float = 1.0) -> Init:
    """Draws all weights from N(0, scale² · 2 / active fan-in), which changes the function.

    Args:
      scale: 1 is He initialization with the active fan-in.

    References:
      He et al. 2015 (arXiv:1502.01852); Evci et al. 2022 (arXiv:2010.03533) for the active fan-in.
    """

    def fill(new: Growth) -> dict:
        drawn = he_normal(new, scale)
        return fill_grown(new, {PRODUCES: drawn, CONSUMES: drawn})

    return make_init(fill, preserves_function=False)


def gradmax(
    gradients: Mapping[str, jax.Array], norm: float | None = None, zero: str = "outgoing"
) -> Init:
    """Sets one side to zero, and the other so that the gradient of the zero side is largest.

    Let A be the gradient of the skip connection over a group, (incoming entries, outgoing entries).
    If the activation is the identity and a unit's incoming weights are u, its outgoing weights have
    the gradient Aᵀu. The r-th new unit gets the r-th left singular vector of A times `norm`, so its
    gradient's norm is the singular value times `norm`. With `zero="incoming"`, outgoing weights are
    right singular vectors.

    Args:
      gradients: `{group: A}`, by `gpnas.units.skip_gradients`.
      norm: L2 norm of the weights of a new unit; the mean over active units if None.
      zero: "outgoing", or "incoming" as in the paper. The latter is exact for any activation with
        f(0) = 0 and f'(0) = 1. ReLU, whose derivative at 0 is 0 in JAX, does not train.

    Raises:
      UserError: For an unknown side; from the init, if a group has no gradient, or more new units
        than singular vectors.

    References:
      Evci et al. 2022, GradMax (arXiv:2201.05125), section 3.
    """
    role = _given_side(zero)

    def vectors(group: UnitGroup, given: Given) -> jax.Array:
        if group.name not in gradients:
            raise UserError("gradients", ", ".join(gradients) or "none", f"one of {group.name}")
        left, _, right = jnp.linalg.svd(gradients[group.name], full_matrices=False)
        rows = left.T if zero == "outgoing" else right
        if is_concrete(given.grown) and np.sum(given.grown) > len(rows):
            many = int(np.sum(given.grown))
            raise UserError(f"new units of {group.name}", many, f"at most {len(rows)}")
        return rows[rank(given.grown) % len(rows)]

    return init_from_vectors(vectors, norm, role)


def random(norm: float | None = None, zero: str = "outgoing") -> Init:
    """Sets one side to zero and the other to a random direction; the control of GradMax.

    Args:
      norm, zero: As for `gradmax`.

    Raises:
      UserError: For an unknown side; from the init, if an op sums over the activations of new units
        themselves.
    """

    def vectors(group: UnitGroup, given: Given) -> jax.Array:
        return jnp.where(given.usable[None], jax.random.normal(given.key, given.rows.shape), 0)

    return init_from_vectors(vectors, norm, _given_side(zero))


def _given_side(zero: str) -> str:
    sides = {"outgoing": PRODUCES, "incoming": CONSUMES}
    check_choice("zero", zero, sides)
    return sides[zero]


def orthogonal(norm: float | None = None) -> Init:
    """Sets incoming weights orthogonal to those of all other units, and outgoing ones to zero.

    If the active units span the whole input space, new units get the least covered directions.

    Args:
      norm: L2 norm of the incoming weights; the mean over active units if None.

    Raises:
      UserError: From the init, if an op sums over the activations of new units themselves.

    References:
      Maile et al. 2022, NORTH* (arXiv:2202.08539), section 3.
    """

    def vectors(group: UnitGroup, given: Given) -> jax.Array:
        size = given.rows.shape[1]
        unit = jnp.eye(size)
        turn = jnp.linalg.qr(jax.random.normal(given.key, (size, size)))[0]
        taken = jnp.where(given.kept[:, None], given.rows, 0).astype(jnp.float32)
        excluded = jnp.where(given.usable, 0, 1 + jnp.linalg.norm(taken))[:, None] * unit
        _, _, right = jnp.linalg.svd(
            jnp.concatenate([taken, excluded]) @ turn
        )  # masked entries count as covered
        free = right[::-1][rank(given.grown) % size]  # the least covered directions come first
        return jnp.where(given.usable[None], free @ turn.T, 0)

    return init_from_vectors(vectors, norm, PRODUCES)


def net2net(unevenness: float = 0.0) -> Init:
    """Copies active units; copies share the outgoing weights of the original.

    A unit and its single copy get half of the outgoing weights each. This preserves the function,
    since consumers are linear in their kernels. Identical copies would have identical gradients,
    unless dropout or unequal shares break the symmetry.

    Args:
      unevenness: In [0, 1); shares are drawn uniformly from 1 ± unevenness and normalized.

    Raises:
      UserError: For an invalid unevenness; from the init, if an op sums over the activations of new
        units themselves, a group has no active unit, a leaf both produces and consumes its units,
        or its units have different index patterns.

    References:
      Chen et al. 2016, Net2Net (arXiv:1511.05641), section 3.2.
    """
    if not 0 <= unevenness < 1:
        raise UserError("unevenness", unevenness, "a number in [0, 1)")

    def fill(new: Growth) -> dict:
        found = tree.leaves_by_path(new.variables)
        for group in new.growing_groups():
            for m in group.members:
                _check_copied(group, m)
            parent, share = _originals(group, new, unevenness)
            for m in group.members:
                rows = take_units(found[m.path], m, group.size)[parent]
                rows = rows * share[:, None].astype(rows.dtype) if m.role == CONSUMES else rows
                found[m.path] = put_units(found[m.path], m, rows, jnp.ones(group.size, bool))
        return zero_masked(new, found)

    return make_init(fill)


def _check_copied(group: UnitGroup, member: Member) -> None:
    """Checks that the entries of a unit in a leaf can be copied to another unit."""
    table = owned_indices(member, group.size)
    if member.role == BOTH:
        raise UserError(
            f"new units of {group.name}",
            member.path,
            "no leaf that produces and consumes the units",
        )
    if np.any(table - table[:, :1] != table[:1] - table[0, 0]):
        allowed = "units with equally spaced indices"
        raise UserError(f"new units of {group.name}", f"{member.path}:{member.axis}", allowed)


def _originals(group: UnitGroup, new: Growth, unevenness: float) -> tuple[jax.Array, jax.Array]:
    """Returns each unit's original and share of the original's outgoing weights, both (size,)."""
    grown, kept = new.grown[group.name], new.kept(group)
    if is_concrete(kept) and not np.any(kept):
        raise UserError(f"active units of {group.name}", 0, "1 or more")
    key = tree.keys_for(new.key, {group.name: new.key})[group.name]
    draws = jax.random.uniform(key, (2, group.size))
    order = jnp.argsort(jnp.where(kept, draws[0], 2))  # active units first, shuffled
    nth = rank(grown) % jnp.maximum(jnp.sum(kept), 1)
    parent = jnp.where(grown, order[nth], jnp.arange(group.size))
    weight = 1 + unevenness * (2 * draws[1] - 1)
    share = weight / jax.ops.segment_sum(weight, parent, group.size)[parent]
    return parent, share

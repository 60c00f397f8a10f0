"""Growth: the first weights of newborn units.

A unit is newborn if it is dead in the unit masks before and lives in those after. Each function
here makes an initialisation, `init(variables, groups, before, after, key) → variables`, that gives
newborn units their weights, and only them. What is masked stays zero: of what a newborn owns only
entries live all of whose units live after, and whose synapse does. Biases (and whatever else is
added) start at zero, scales and variances (whatever else multiplies) at the mean of the living.

An initialisation may be jitted. A group whose masks are traced counts as one that grows; masks of
the others may be arrays on the host.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units._groups import Member, UnitGroup
from gpnas.units._grow_init import (
    Given,
    Growth,
    Init,
    by_vectors,
    certain,
    draw,
    initialisation,
    masked,
    nothing,
    rank,
    settle,
)
from gpnas.units._indexing import leaves, owned, put, take
from gpnas.units.graph._roles import BOTH, MAKES, READS

__all__ = ["Init", "active_fan_in", "gradmax", "net2net", "orthogonal", "random", "zero_outgoing"]


def zero_outgoing(scale: float = 1.0) -> Init:
    """Incoming weights N(0, scale² · 2 / living fan-in), outgoing ones zero: nothing changes yet.

    Args:
      scale: 1 is He initialisation of the living network.

    Raises:
      UserError: From the init, if something sums over the activations of newborn units themselves.
    """
    return initialisation(lambda new: settle(new, {MAKES: draw(new, scale), READS: nothing}))


def active_fan_in(scale: float = 1.0) -> Init:
    """Incoming and outgoing weights N(0, scale² · 2 / living fan-in): the function jumps.

    Args:
      scale: 1 is He initialisation of the living network.

    References:
      He et al. 2015 (arXiv:1502.01852); Evci et al. 2022 (arXiv:2010.03533) for the living fan-in.
    """

    def fill(new: Growth) -> dict:
        drawn = draw(new, scale)
        return settle(new, {MAKES: drawn, READS: drawn})

    return initialisation(fill, silent=False)


def gradmax(
    bridges: Mapping[str, jax.Array], norm: float | None = None, zero: str = "outgoing"
) -> Init:
    """One side zero, the other so that the first gradient of the zero side is as large as can be.

    A bridge skips the unit: a linear layer from all that its incoming weights multiply to all that
    its outgoing weights lead to. With A its gradient, (incoming entries, outgoing entries), and an
    activation that is the identity, outgoing weights have the gradient Aᵀu if incoming ones are u:
    the r-th newborn gets the r-th left singular vector, and the gradient's norm is the singular
    value times `norm`. Or the other way round, with right singular vectors.

    Args:
      bridges: `{group: A}`, of `gpnas.units.bridge.gradients`.
      norm: Of what a newborn is given; the mean of the living if None.
      zero: "outgoing", or "incoming" as the paper has it. The latter is exact for any activation
        with f(0) = 0 and f'(0) = 1, but ReLU, whose derivative at 0 is 0 in JAX, learns nothing.

    Raises:
      UserError: For another side; from the init, if there is no bridge for a group, or it has fewer
        singular vectors than the group newborns.

    References:
      Evci et al. 2022, GradMax (arXiv:2201.05125), section 3.
    """
    role = _given_side(zero)

    def vectors(group: UnitGroup, given: Given) -> jax.Array:
        if group.name not in bridges:
            raise UserError("bridges", ", ".join(bridges) or "none", f"one of {group.name}")
        left, _, right = jnp.linalg.svd(bridges[group.name], full_matrices=False)
        rows = left.T if zero == "outgoing" else right
        if certain(given.born) and np.sum(given.born) > len(rows):
            many = int(np.sum(given.born))
            raise UserError(f"newborns of {group.name}", many, f"at most {len(rows)}")
        return rows[rank(given.born) % len(rows)]

    return by_vectors(vectors, norm, role)


def random(norm: float | None = None, zero: str = "outgoing") -> Init:
    """One side zero, the other in a random direction: the control of GradMax.

    Args:
      norm, zero: As for `gradmax`.

    Raises:
      UserError: For another side; from the init, if something sums over the activations of newborn
        units themselves.
    """

    def vectors(group: UnitGroup, given: Given) -> jax.Array:
        return jnp.where(given.usable[None], jax.random.normal(given.key, given.rows.shape), 0)

    return by_vectors(vectors, norm, _given_side(zero))


def _given_side(zero: str) -> str:
    sides = {"outgoing": MAKES, "incoming": READS}
    if zero not in sides:
        raise UserError("zero", zero, ", ".join(sides))
    return sides[zero]


def orthogonal(moments: Mapping[str, jax.Array] | None = None, norm: float | None = None) -> Init:
    """Incoming weights orthogonal to those of the living units and to each other, outgoing zero.

    Where the living span all of their inputs, newborns get the directions that they cover least.

    Args:
      moments: `{group: C}`, (entries, entries) second moments of what incoming weights multiply, of
        `gpnas.units.bridge.moments`: then it is the pre-activations that are orthogonal, over the
        inputs of C. Groups without have orthogonal weights.
      norm: Of a newborn's incoming weights; the mean of the living if None.

    Raises:
      UserError: From the init, if something sums over the activations of newborn units themselves.

    References:
      Maile et al. 2022, NORTH* (arXiv:2202.08539), section 3.
    """
    metrics = {} if moments is None else moments

    def vectors(group: UnitGroup, given: Given) -> jax.Array:
        size = given.rows.shape[1]
        unit = jnp.eye(size)
        use = given.usable[:, None] & given.usable[None]
        metric = jnp.where(use, metrics.get(group.name, unit), unit)
        tiny = 1e-6 * jnp.trace(metric) / size
        root = jnp.linalg.cholesky(metric + tiny * unit)  # root @ root.T is the metric
        turn = jnp.linalg.qr(jax.random.normal(given.key, (size, size)))[0]
        taken = jnp.where(given.living[:, None], given.rows, 0).astype(jnp.float32) @ root
        barred = jnp.where(given.usable, 0, 1 + jnp.linalg.norm(taken))[:, None] * unit
        _, _, right = jnp.linalg.svd(jnp.concatenate([taken, barred]) @ turn)  # masked is taken
        free = right[::-1][rank(given.born) % size]  # what is covered least comes first
        return jnp.where(given.usable[None], jnp.linalg.solve(root.T, turn @ free.T).T, 0)

    return by_vectors(vectors, norm, MAKES)


def net2net(unevenness: float = 0.0) -> Init:
    """Newborns copy living units, and all that are alike share their outgoing weights.

    A unit and its one copy get half each: the function does not change, as what reads them is
    linear in its kernel. Alike as they are they would have the same gradients for ever, unless
    something parts them: dropout, or unequal shares.

    Args:
      unevenness: Shares are drawn from 1 ± this much, in [0, 1), before they are made to add up.

    Raises:
      UserError: For another unevenness; from the init, if something sums over the activations of
        newborn units themselves, no unit of a group lives to be copied, a leaf both makes and reads
        the units, or they do not all lie in it in the same way.

    References:
      Chen et al. 2016, Net2Net (arXiv:1511.05641), section 3.2.
    """
    if not 0 <= unevenness < 1:
        raise UserError("unevenness", unevenness, "a number in [0, 1)")

    def fill(new: Growth) -> dict:
        found = leaves(new.variables)
        for group in new.grown():
            for m in group.members:
                _check_copied(group, m)
            mother, share = _families(group, new, unevenness)
            for m in group.members:
                rows = take(found[m.path], m, group.size)[mother]
                rows = rows * share[:, None].astype(rows.dtype) if m.role == READS else rows
                found[m.path] = put(found[m.path], m, rows, jnp.ones(group.size, bool))
        return masked(new, found)

    return initialisation(fill)


def _check_copied(group: UnitGroup, member: Member) -> None:
    """Makes sure that what one unit owns in a leaf can be another's, index by index."""
    table = owned(member, group.size)
    if member.role == BOTH:
        raise UserError(f"newborns of {group.name}", member.path, "no leaf with two uses")
    if np.any(table - table[:, :1] != table[:1] - table[0, 0]):
        allowed = "units whose indices are equally far from each other"
        raise UserError(f"newborns of {group.name}", f"{member.path}:{member.axis}", allowed)


def _families(group: UnitGroup, new: Growth, unevenness: float) -> tuple[jax.Array, jax.Array]:
    """(size,) whom each unit is like, and (size,) its share of that one's outgoing weights."""
    born, living = new.born[group.name], new.living(group)
    if certain(living) and not np.any(living):
        raise UserError(f"living units of {group.name}", 0, "one to copy, or more")
    key = tree.keys_for(new.key, {group.name: new.key})[group.name]
    draws = jax.random.uniform(key, (2, group.size))
    order = jnp.argsort(jnp.where(living, draws[0], 2))  # the living first, shuffled
    turn = rank(born) % jnp.maximum(jnp.sum(living), 1)
    mother = jnp.where(born, order[turn], jnp.arange(group.size))
    weight = 1 + unevenness * (2 * draws[1] - 1)
    share = weight / jax.ops.segment_sum(weight, mother, group.size)[mother]
    return mother, share

"""Every criterion that comes with the house, by name."""

from __future__ import annotations

from secateur.criteria.activation import apoz, chip, entropy, hrank, mean_activation
from secateur.criteria.compensated import compensated
from secateur.criteria.gradient import (
    fisher,
    snip,
    taylor_fo,
    taylor_gate,
    taylor_l1,
    taylor_l2,
)
from secateur.criteria.relation import cosine, fermat, gm
from secateur.criteria.weight import bn_scale, bn_shift, l1, l2, lamp, random

CRITERIA = {
    criterion.name: criterion
    for criterion in (
        *(l1, l2, gm, fermat, bn_scale, bn_shift, lamp, cosine, random),
        *(taylor_l1, taylor_l2, taylor_fo, taylor_gate, snip, fisher),
        *(apoz, mean_activation, entropy, hrank, chip),
        compensated,
    )
}

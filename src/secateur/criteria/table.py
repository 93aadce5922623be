"""Every criterion that comes with the house, by name."""

from __future__ import annotations

from secateur.criteria.relation import cosine, fermat, gm
from secateur.criteria.weight import bn_scale, bn_shift, l1, l2, lamp, random

CRITERIA = {
    criterion.name: criterion
    for criterion in (l1, l2, gm, fermat, bn_scale, bn_shift, lamp, cosine, random)
}

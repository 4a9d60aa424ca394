"""Items on two people, one of whom gives something: the other one is to be named as the receiver.

After the indirect-object task of Wang et al. 2022 (arXiv:2211.00593); templates and names are our own. A group has
four names of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from harness_behaviour.compose import Item, deal, lines, turn

GROUPS = 12

TEMPLATES = """
{one} and {two} walked to the market. There {giver} bought some bread for
When {one} and {two} were in the garden, {giver} handed a flower to
{one} and {two} sat at the table, and {giver} passed the salt to
After {one} and {two} had eaten, {giver} read a letter to
{one} met {two} at the church, where {giver} gave a ring to
On the ship {one} and {two} became friends. Later {giver} wrote to
{one} and {two} work in the same office. On Monday {giver} sent a report to
Last winter {one} and {two} lived by the river, and {giver} told a story to
"""

NAMES = """
Anna Peter Maria Paul Clara Henry Laura Martin Emma Oliver Julia Simon Sarah Thomas Alice Robert Helen Frank Rosa Adam
Nina David Ruth Daniel Lucy Edward Jane George Ellen Philip Grace Walter Mary John Kate Mark Sophie Felix Lena Max
Irene Victor Eva Hugo Marta Oscar Diana Leo
"""


def items() -> Iterator[Item]:
    """Yield every pair of a group's names, in both orders, with either as the giver."""
    templates = lines(TEMPLATES)
    for group, names in enumerate(deal(NAMES.split(), GROUPS)):
        for template in turn(templates, 2, group):
            for pair in combinations(names, 2):
                for one, two in (pair, pair[::-1]):
                    for giver, receiver in ((one, two), (two, one)):
                        yield Item(
                            prompt=template.format(one=one, two=two, giver=giver),
                            right=f" {receiver}",
                            wrong=f" {giver}",
                            family="names",
                            group=f"names-{group}",
                        )

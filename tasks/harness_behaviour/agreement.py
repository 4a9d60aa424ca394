"""Items on the agreement of a verb with its subject, alone or with a noun of another number between the two.

After Linzen, Dupoux & Goldberg 2016 (arXiv:1611.01368), who tested language models so; templates and words are our
own. A group has two nouns of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness_behaviour.compose import Item, deal, lines, turn

GROUPS = 24

ALONE = """
The {noun} | is | are
I think that the {noun} | has | have
Last year the {noun} | was | were
And now the {noun} | is | are
They know that the {noun} | has | have
In those days the {noun} | was | were
"""

BETWEEN = """
The {noun} near the {other} | is | are
The {noun} that the {other} had seen | was | were
Yesterday the {noun} behind the {other} | was | were
The old {noun} beside the {other} | has | have
We all know that the {noun} with the {other} | is | are
The {noun} from the house of the {other} | has | have
In the morning the {noun} across from the {other} | was | were
He says that the {noun} next to the {other} | is | are
The {noun} which came before the {other} | was | were
Of course the {noun} in front of the {other} | has | have
The {noun} under the roof of the {other} | is | are
They wrote that the {noun} after the {other} | was | were
"""

NOUNS = """
king kings
letter letters
tree trees
horse horses
teacher teachers
river rivers
book books
window windows
soldier soldiers
garden gardens
brother brothers
ship ships
doctor doctors
road roads
table tables
friend friends
bird birds
servant servants
mountain mountains
flower flowers
neighbour neighbours
door doors
writer writers
village villages
farmer farmers
star stars
daughter daughters
picture pictures
lawyer lawyers
bridge bridges
stone stones
captain captains
dog dogs
church churches
sister sisters
song songs
judge judges
cloud clouds
box boxes
stranger strangers
island islands
chair chairs
student students
field fields
painter painters
cat cats
wall walls
prince princes
"""


def items() -> Iterator[Item]:
    """Yield each subject in both numbers, alone and followed by the group's other noun in both numbers."""
    alone, between = lines(ALONE), lines(BETWEEN)
    for group, nouns in enumerate(deal(lines(NOUNS), GROUPS)):
        one, two = (noun.split() for noun in nouns)
        for template in (*turn(alone, 2, group), *turn(between, 3, group)):
            frame, *verbs = template.split(" | ")
            for subject, other in ((one, two), (two, one)):
                for place in (0, 1):
                    for attractor in (0, 1) if "{other}" in frame else (0,):
                        yield Item(
                            prompt=frame.format(noun=subject[place], other=other[attractor]),
                            right=f" {verbs[place]}",
                            wrong=f" {verbs[1 - place]}",
                            family="agreement",
                            group=f"agreement-{group}",
                        )

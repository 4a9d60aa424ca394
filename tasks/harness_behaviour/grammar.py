"""Items on forms: of a verb after its auxiliary, a noun after its determiner, a pronoun after a preposition.

Minimal pairs as in BLiMP (Warstadt et al. 2020, arXiv:1912.00582); templates and words are our own. A group has three
persons of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness_behaviour.compose import Item, deal, lines, pick, turn

GROUPS = 12

TEMPLATES = """
The {who} could not | base
The {who} had never | participle
The {who} saw many | plural
The {who} came with | object
The {who} wanted to | base
The {who} bought every | singular
The {who} did not | base
The {who} had once | participle
The {who} looked for these | plural
The {who} spoke to | object
The {who} will soon | base
The {who} found a single | singular
The {who} has often | participle
The {who} may still | base
The {who} wrote about | object
The {who} knows several | plural
The {who} had already | participle
The {who} would rather | base
The {who} thought of each | singular
The {who} heard from | object
The {who} must not | base
The {who} brought those | plural
The {who} has always | participle
The {who} was sent for | object
"""

WHO = """
teacher king doctor farmer soldier woman
captain brother judge writer servant girl
painter lawyer queen sailor student man
neighbour sister hunter nurse merchant boy
prince cook father singer guard aunt
priest mother thief tailor guest uncle
"""

VERBS = """
go went gone
see saw seen
know knew known
take took taken
give gave given
write wrote written
speak spoke spoken
begin began begun
eat ate eaten
fall fell fallen
choose chose chosen
forget forgot forgotten
break broke broken
draw drew drawn
show showed shown
"""

NOUNS = """
house houses
book books
horse horses
letter letters
tree trees
word words
man men
woman women
child children
day days
door doors
ship ships
road roads
stone stones
"""

PRONOUNS = """
he him
she her
they them
we us
I me
"""

PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "base": tuple((base, past) for base, past, _ in map(str.split, lines(VERBS))),
    "participle": tuple((participle, past) for _, past, participle in map(str.split, lines(VERBS))),
    "plural": tuple((plural, singular) for singular, plural in map(str.split, lines(NOUNS))),
    "singular": tuple((singular, plural) for singular, plural in map(str.split, lines(NOUNS))),
    "object": tuple((object_, subject) for subject, object_ in map(str.split, lines(PRONOUNS))),
}
"""Kind → the right form and the wrong one."""


def items() -> Iterator[Item]:
    """Yield each person of a group in templates that each have one word in two forms."""
    templates = lines(TEMPLATES)
    for group, people in enumerate(deal(WHO.split(), GROUPS)):
        for template in turn(templates, 8, group):
            frame, kind = template.split(" | ")
            right, wrong = pick(PAIRS[kind], frame)
            for who in people:
                yield Item(
                    prompt=frame.format(who=who),
                    right=f" {right}",
                    wrong=f" {wrong}",
                    family="grammar",
                    group=f"grammar-{group}",
                )

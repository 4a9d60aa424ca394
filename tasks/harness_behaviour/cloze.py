"""Items on topics: of two words, the one of the topic just mentioned is right.

Two topics share two templates and two words to choose from, so that the right word depends on the topic. A group has
words of its own that name the topic.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness_behaviour.compose import Item, deal, lines

GROUPS = 5
"""Number of groups of each pair of topics."""

TEMPLATES = """
They spoke of the {cue} and of the
First we looked at the {cue}, and then at the
Beside the {cue} there was also the
She could not find the {cue}, nor the
The {cue} is nothing without the
He knew all about the {cue} and the
A picture of the {cue} hung next to a picture of the
My uncle brought the {cue}; my aunt brought the
Where you find the {cue}, you also find the
The story begins with the {cue} and ends with the
Please write down: first {cue}, then
In the dream I saw the {cue}, which turned into the
"""

TOPICS = """
bread milk cheese soup butter egg salt meat apple cake spoon plate oven cook dinner cup
ship sail harbour captain wave anchor island sailor boat shore storm net fish rope tide port
horse cow sheep farmer field barn hay pig goat plough wheat fence hen stable cart seed
king queen throne crown prince castle palace knight sword court servant princess duke robe feast guard
doctor nurse fever medicine wound hospital pain blood cough patient bandage pill illness surgeon cure disease
school teacher pupil lesson book pen desk exam class pencil word page chalk student essay library
song violin piano drum flute concert singer melody orchestra trumpet dance voice choir guitar tune note
judge law trial prison thief lawyer witness crime police jury verdict guilt sentence oath robber chain
forest tree leaf branch root wolf deer bear moss path bush fox oak owl stream hunter
money bank coin price debt merchant market gold tax purse loan shop silver trade wage bill
rain snow wind cloud thunder sun fog ice frost lightning sky hail summer winter heat drought
coat shirt shoe hat dress glove button sleeve needle thread scarf sock belt cloth pocket tailor
"""
"""One topic in each line: its first word is the one to choose. Each topic is paired with the next."""


def items() -> Iterator[Item]:
    """Yield each word of two topics as the cue, in both of their templates."""
    topics = [topic.split() for topic in lines(TOPICS)]
    templates = deal(lines(TEMPLATES), len(topics) // 2)
    for pair, own in enumerate(templates):
        both = topics[2 * pair], topics[2 * pair + 1]
        for place, (word, *cues) in enumerate(both):
            for group, named in enumerate(deal(cues, GROUPS)):
                for template in own:
                    for cue in named:
                        yield Item(
                            prompt=template.format(cue=cue),
                            right=f" {word}",
                            wrong=f" {both[1 - place][0]}",
                            family="cloze",
                            group=f"cloze-{pair}-{group}",
                        )

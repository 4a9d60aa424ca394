"""Items on common knowledge that a small model may lack: capitals, seasons, numbers, days, plurals, opposites, …

A group has a template of its own: the same fact is asked for again in other words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness_behaviour.compose import Item, lines, pick

TEMPLATES: Mapping[str, str] = {
    "capital": """
The capital of {cue} is
If you travel to {cue}, you should visit its capital,
The government of {cue} sits in
The largest city that I saw in {cue} was its capital,
Question: What is the capital of {cue}? Answer:
People from {cue} are proud of their capital,
""",
    "season": """
The month of {cue} belongs to the season of
When it is {cue} in Europe, it is
In the north, {cue} is a month of
He was born in {cue}, that is to say in
Question: In which season is {cue}? Answer: in
A day in {cue} is a day in
""",
    "number": """
After the number {cue} comes the number
She counted aloud: {cue},
One more than {cue} is
I had {cue} coins and found another, so now I have
Question: What is {cue} plus one? Answer:
Chapter {cue} is followed by chapter
""",
    "order": """
The day or month after {cue} is
Not on {cue}, but right after it, in or on
First comes {cue}, then comes
We waited the whole of {cue}, until
Question: What follows {cue}? Answer:
On the calendar {cue} stands just before
""",
    "plural": """
One {cue}, two
There was a single {cue}, but now there are many
The plural of {cue} is
I have a {cue}; you have three
Question: What is more than one {cue} called? Answer:
Where one {cue} goes, soon there will be several
""",
    "opposite": """
The opposite of {cue} is
If something is not {cue}, it is
First it was {cue}, and then it was quite the contrary:
Some are {cue} and others are
Question: What is the opposite of {cue}? Answer:
Neither {cue} nor
""",
    "young": """
The young of a {cue} is called a
A mother {cue} looks after her
On the farm or in the wild, a small {cue} is a
The {cue} was followed by its
Question: What is a baby {cue} called? Answer: a
When it is grown up it will be a {cue}, but now it is a
""",
    "trade": """
Someone whose work is {cue} is called a
We looked for a person for {cue} and found a
For {cue} you had better ask a
My grandfather lived by {cue}: he was a
Question: Who does {cue}? Answer: the
All his life he was good at {cue}, and so he became a
""",
}

PAIRS: Mapping[str, str] = {
    "capital": """
France Paris
England London
Italy Rome
Spain Madrid
Germany Berlin
Russia Moscow
Austria Vienna
Greece Athens
Egypt Cairo
Japan Tokyo
China Beijing
Portugal Lisbon
Poland Warsaw
Ireland Dublin
Norway Oslo
Sweden Stockholm
Turkey Ankara
Kenya Nairobi
Cuba Havana
Hungary Budapest
Belgium Brussels
Ukraine Kyiv
Peru Lima
Denmark Copenhagen
""",
    "season": """
December winter
January winter
February winter
March spring
April spring
May spring
June summer
July summer
August summer
September autumn
October autumn
November autumn
""",
    "number": """
one two
two three
three four
four five
five six
six seven
seven eight
eight nine
nine ten
ten eleven
eleven twelve
twelve thirteen
thirteen fourteen
fourteen fifteen
nineteen twenty
twenty twenty-one
thirty thirty-one
ninety-nine hundred
""",
    "order": """
Monday Tuesday
Tuesday Wednesday
Wednesday Thursday
Thursday Friday
Friday Saturday
Saturday Sunday
Sunday Monday
January February
February March
March April
April May
May June
June July
July August
August September
September October
October November
November December
""",
    "plural": """
man men
woman women
child children
foot feet
tooth teeth
mouse mice
goose geese
wife wives
leaf leaves
knife knives
city cities
story stories
lady ladies
church churches
box boxes
king kings
house houses
letter letters
""",
    "opposite": """
good bad
hot cold
big small
old young
light dark
long short
rich poor
high low
strong weak
happy sad
hard soft
full empty
early late
open closed
true false
wet dry
clean dirty
near far
""",
    "young": """
dog puppy
cat kitten
cow calf
horse foal
sheep lamb
hen chick
goat kid
pig piglet
duck duckling
bear cub
deer fawn
frog tadpole
goose gosling
swan cygnet
owl owlet
""",
    "trade": """
teaching teacher
baking baker
painting painter
writing writer
singing singer
hunting hunter
farming farmer
fishing fisherman
sewing tailor
healing doctor
building builder
preaching priest
judging judge
cooking cook
sailing sailor
""",
}


def items() -> Iterator[Item]:
    """Yield each pair of a kind in each of its templates; the wrong choice is the answer of another pair."""
    for kind, bank in PAIRS.items():
        pairs = [(cue, answer) for cue, answer in (line.split() for line in lines(bank))]
        answers = sorted({answer for _, answer in pairs})
        for group, template in enumerate(lines(TEMPLATES[kind])):
            for cue, right in pairs[:: 1 + (len(pairs) > 12)]:
                yield Item(
                    prompt=template.format(cue=cue),
                    right=f" {right}",
                    wrong=f" {pick([one for one in answers if one not in (right, cue)], cue)}",
                    family="facts",
                    group=f"facts-{kind}-{group}",
                )

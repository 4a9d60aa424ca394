"""Notes on five topics that share many of their words: charge, balance, menu, port, tablet, virus."""

from __future__ import annotations

from collections.abc import Iterator

from harness_quickstart.compose import Row, join, ordered, pick

LEADS_PER_KEY = 4

LEADS = """
A neighbour told me about this.
Here is what I noted yesterday.
My cousin asked me to write it down.
I found this in an old notebook.
It came up over lunch.
We talked about it for an hour.
This is for the newsletter.
Someone left a comment about it.
I overheard this on the tram.
First things first.
Let me add one more thing.
It took me years to learn this.
My aunt swears by it.
There was a short talk about it on the radio.
The group voted on it last night.
I am still not sure about it.
This surprised everyone at the table.
Nobody had warned me.
You asked how it went.
The teacher repeated it twice.
It is easier than it sounds.
This is the part most people skip.
I made the same mistake twice.
Here is a quick question.
We learned it the hard way.
My brother disagrees.
It was the second time this month.
The old way was slower.
This goes into the guide.
I promised to share it.
Something small, but useful.
The answer was on the last page.
It works for a family of four.
That was news to me.
It depends on the season.
A friend from Lisbon wrote this.
Most of it can be done in the morning.
I read it three times.
The advice was free.
I would do it again.
We kept a list.
Here is the short version.
It happened on a Sunday.
The rest is simple.
""".strip().splitlines()

GENERAL_FOLLOW_UPS = """
Check it again after a day.
That saves time and money.
Keep the temperature in mind.
The price has gone up since.
A good plan helps.
Ask someone who has done it before.
Read the label first.
""".strip().splitlines()

KEYS = {
    "cooking": """
Stir the flour into the butter before the milk goes in.
The dough doubled in size overnight on the cool side of the kitchen.
A pinch of salt brings out the sweetness of the carrots.
Let the steak rest on a warm plate so that the juice stays in.
The soup needs another ten minutes on low heat.
I burned the onions because the pan was too hot.
Cut the potatoes to the same size and they finish together.
The recipe exchange at school gave me a plum cake worth keeping.
Lemon juice keeps the sliced apples from turning brown.
We served the lentils with yoghurt and fresh mint.
Her sauce splits when the cream boils.
Put the lid on and let the rice steam off the heat.
The cookies came out flat since the butter had melted.
Taste the stew before you add more pepper.
A port reduction with the duck was the best thing on the menu.
He whisked the eggs over hot water until they were thick.
Dry the fish well or the skin will stick.
Old bread makes fine dumplings with a bit of nutmeg.
The balance of sour and sweet makes this dressing.
Roast the garlic whole and press it out of its skin.
I fried the mushrooms in two batches to keep them crisp.
Our oven runs hot, so the crust was dark after half an hour.
Soak the beans overnight and change the water.
The knife has to be sharp or it will crush the tomatoes.
She folded the berries into the batter with a wooden spoon.
The noodles were cold by the time we sat down to eat.
Boil the jam until a drop sets on a cold saucer.
Grate the cheese fine and it melts without lumps.
We are grilling peppers and corn in the yard.
The custard tasted of vanilla and a little orange peel.
Save the water from the pasta for the pan.
Toast the nuts and the spices before you grind them.
My pancakes are better when the batter has rested.
The bank of herbs by the window gives us basil all summer.
A slow cooker turns a cheap cut into a tender roast.
Rub the chicken with oil, thyme and salt in the morning.
For the filling we chopped spinach and crumbled feta.
The cake fell when I opened the door too early.
Pickle the cucumbers in vinegar with dill and mustard seed.
Leftover porridge can go into the bread dough.
""",
    "travel": """
The ferry leaves the port at six and arrives before noon.
We missed our connection in Vienna by two minutes.
The hostel keeps your bag behind the desk until evening.
Take the night train and you save one hotel.
Our guide showed us the old town from the harbour wall.
They changed our gate twice and the flight left late.
The road to the village was closed by snow.
I left my passport in the safe and had to go back.
The beach is quiet in May and the water is cold.
We hired bicycles and rode along the river to the castle.
A window seat on the left has the view of the mountains.
The border guard only glanced at our visas.
Our room had a balcony over the market square.
The menu was only in Greek, so we pointed at the next table.
It rained for the whole week on the island.
The bus up the pass runs twice a day in summer.
She packed one small rucksack for three months in Asia.
The museum is free on the first Sunday of the month.
We slept in a hut at two thousand metres.
The airline lost our suitcases somewhere over the Atlantic.
Cabin pressure gives me a headache on every long flight.
The trail starts behind the church and is marked in red.
We crossed the desert in a jeep with a broken heater.
Ask the driver to stop at the bridge for the waterfall.
Their campsite was full, so we slept in the car.
The map did not show that the coast path was gone.
He booked a cabin on the cruise to Norway.
An exchange of rooms with another tourist got us the sea view.
The old quarter is best on foot, early in the morning.
We queued three hours for the cable car.
Check in online or the airline will charge you at the airport.
A local family let us stay in their guest house.
The tram from the terminal stops near the cathedral.
Jet lag kept us awake until four in Tokyo.
The tour of the vineyards ended with dinner on a terrace.
Our plan was to drive north until the road ended.
The lighthouse can be reached at low tide only.
I have never seen so many souvenir shops in one street.
The temple opens at dawn for visitors.
The customs officer wanted to see the receipt for the carpet.
""",
    "money": """
The bank raised the interest on our mortgage again.
I moved half of my savings into a fixed deposit.
The card was declined although the balance was fine.
She pays her rent on the third of the month.
They charge a fee for every transfer abroad.
We keep three months of wages as a cushion.
The tax office wants the receipts of the last two years.
His pension plan lost a tenth of its value in spring.
Put the bonus aside before you get used to it.
The exchange rate was better at the post office.
I forgot to cancel the gym and paid for a year.
The shares fell when the company cut its dividend.
Split the bill by income and nobody feels cheated.
The insurance refused to cover the damage to the roof.
Our budget has one line for food and one for everything else.
A loan from family comes with its own interest.
The landlord kept the deposit for a scratch on the door.
I sold the old coins to a dealer for twice their weight in silver.
The cash machine kept my card and gave me nothing.
She asked for a raise and got a new title.
My accountant found a mistake in the invoice.
Inflation ate what the account had earned.
We refinanced the house when rates were low.
The fund takes one percent a year for doing very little.
He owes the shop for two months of bread.
The auction started at ten and ended at nine hundred.
I check my statement every Friday for strange payments.
The couple opened a joint account for the wedding.
A credit score is built by paying on time.
The scholarship covers the tuition but not the books.
Our electricity bill doubled over the winter.
The grant has to be spent before December.
They trade in old bonds and call it a hobby.
We sold the car because the insurance cost more than the petrol.
The wallet held forty euros and a library card.
Small debts first, then the big ones, was her advice.
The bakery gave up cash and takes cards only.
I lost money on the tickets when the tour was cancelled.
The audit found that the hospital had overpaid its suppliers.
A receipt in the drawer is worth a refund in the spring.
""",
    "health": """
The doctor told me to take one tablet after breakfast.
My knee swells when I run on hard ground.
She measures her blood pressure every evening.
A virus went through the whole class in a week.
The cut on his hand needed five stitches.
Drink more water if the headache comes back.
I sleep badly when I eat late.
The nurse changed the bandage and checked the temperature.
He has been coughing since the trip.
Stretch your back before you lift anything heavy.
The dentist found a small hole in a tooth at the back.
Too much salt is bad for your heart.
Her allergy to nuts is listed on a card in her wallet.
The physiotherapist showed me how to keep my balance on one leg.
A fever above thirty-nine should be seen by someone.
My father carries his inhaler in a coat pocket.
The rash went away after two days of cream.
We wait four weeks for an appointment with the skin clinic.
Walking half an hour a day lowered his sugar.
The surgeon said the scar would fade within a year.
I got vaccinated in the left arm and it was sore.
The new glasses make me dizzy on the stairs.
She broke her wrist on the ice in January.
The pharmacy was out of the syrup for children.
Breathing slowly through the nose calms me before an exam.
His diet plan allows cheese but no bread.
The scan showed nothing, which was a relief.
Older patients should stand up slowly after a rest.
I pulled a muscle while moving the oven.
The midwife visits twice in the first week.
Her doctor cut the dose in half.
Screens late at night are hard on the eyes.
The clinic tests hearing with a quiet room and a headset.
My stomach could not cope with the cream.
The swelling goes down if you cool it with ice.
After the operation he needed help with the buttons.
Lack of iron had made her tired for months.
The therapist asked how often I felt that way.
Sunburn on the neck is easy to miss.
An infection in the ear can spoil a flight.
""",
    "technology": """
The phone will not charge with the old cable.
Restart the router and wait for the green light.
The update deleted all of my saved passwords.
Plug the screen into the port on the left.
My laptop fan is loud whenever a video runs.
The virus came with a file that looked like an invoice.
Cookies have to be allowed or the page will not load.
We moved the photos from the tablet to the server.
The menu is hidden behind three small dots.
The battery lasts a day if the screen is dim.
The developer fixed the bug in two lines.
Our printer only talks to one of the computers.
Back up the disk before you change the system.
The search box ignores everything after a comma.
I typed the code from the message and it was refused.
The app asks for the camera although it never needs it.
The chip runs hot, so they lowered its speed.
The robot stops when its sensor is dirty.
Load the page again with the cache cleared.
Her keyboard misses the letter e.
The sound cuts out when I walk away with the headset.
They rewrote the program so that it needs half of the memory.
The network was down from noon to four.
Two factor login is a nuisance until the day you need it.
The drone lost its signal over the lake.
The database doubled in size overnight.
You can cut and paste between the two windows.
The cloud plan includes a terabyte for the family.
The touch screen does not react to wet fingers.
My watch counts steps when I stir a pot.
The map on my phone was stuck on yesterday's position.
The bank's website rejects any browser older than two years.
The script renames the files by date.
An old processor still runs the heating in our school.
The headset needs new firmware before it pairs.
The model answers questions but makes up its sources.
I soldered a new switch onto the board.
The exchange of keys happens before any data is sent.
A folder on the desktop is not a backup.
The link in the mail leads to an error page.
""",
}

FOLLOW_UPS = {
    "cooking": """
The guests asked for the recipe.
Serve it warm.
Use the big bowl.
It keeps in the fridge for two days.
A little more butter does no harm.
We ate all of it.
Leave the pan on the stove.
The kitchen smelled wonderful.
""",
    "travel": """
The tickets were cheap.
Next year we go back.
The hotel was helpful.
Bring a warm coat for the evening.
We had a week left.
The station is close by.
The view was worth it.
It is the best season for visitors.
""",
    "money": """
The account shows it on Monday.
That is a lot for one month.
I keep the receipts now.
The total was wrong.
We paid in the end.
The fee is in the small print.
I would rather save it.
The bank sent a letter.
""",
    "health": """
I feel better already.
The pain comes and goes.
Rest is the best cure.
She sees the doctor again in May.
It is nothing serious.
I have been tired since.
He takes it twice a day.
The clinic will call.
""",
    "technology": """
The screen went dark.
Turning it off and on helped.
The new version is out.
It needs a better cable.
The settings are well hidden.
I wrote to support.
Everything was lost.
It runs without a network.
""",
}


def rows() -> Iterator[Row]:
    """Yield notes by topic; those around the same topical sentence are one group."""
    for label, keys in KEYS.items():
        follow_ups = FOLLOW_UPS[label].strip().splitlines()
        for number, key in enumerate(keys.strip().splitlines()):
            for lead in ordered(LEADS, key)[:LEADS_PER_KEY]:
                pool = pick((follow_ups, follow_ups, GENERAL_FOLLOW_UPS), "pool", key, lead)
                text = join([lead, key, pick(pool, key, lead)])
                yield Row(text=text, label=label, group=f"{label}-{number:02}")

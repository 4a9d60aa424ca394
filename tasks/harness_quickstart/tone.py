"""Polite and hostile messages: one sentence that carries the tone, among sentences that need not."""

from __future__ import annotations

from collections.abc import Iterator

from harness_quickstart.compose import Row, join, ordered, pick

SITUATIONS_PER_KEY = 6

POLITE = """
Thank you for looking into this so quickly last week.
I know you have a lot on your plate, so whenever you get a moment is fine.
Would you mind taking another look when it suits you?
I really appreciate the patience your team has shown me.
Sorry to be a nuisance, but could you point me in the right direction?
It may well be my own mistake, and if so I apologise.
Please don't stay late on my account.
You explained it so clearly last time that I hoped to ask you again.
Could I trouble you for a short update?
No rush at all, I can wait until next week.
I was hoping you might be able to help me understand what went wrong.
Your colleague on the phone was kind and I'd like to pass on my thanks.
If it is not too much trouble, I would be grateful for a reply.
I'm afraid I got confused, and I would love your advice.
Let me know if there is anything I can do to make this easier for you.
I hate to complain, because everyone here has been wonderful.
That was a terrible day for all of us, and you handled it with grace.
Forgive me for asking twice, I must have missed your answer.
I never expected such a careful reply, it made my morning.
Nobody is to blame here, these things happen to the best of us.
I would be glad to explain it again if my first note was unclear.
May I ask who would be the right person to speak to?
We were disappointed, but we understand how hard this season has been for you.
Happy to share the screenshots if they would be useful to you.
Take whatever time you need, I would rather it was done well.
I'm grateful that you warned us before it became a problem.
Perhaps we could find ten minutes to sort it out together?
Please feel free to correct me if I have this backwards.
It was foolish of me not to check first, and I'm sorry for the extra work.
You were right about the dates, and I should have listened.
I'd be delighted to return the favour whenever you need a hand.
With your permission I would like to suggest a small change.
Many thanks for keeping me informed at every step.
I completely understand if the answer is no.
I hope your week is going well despite the mess on our side.
Would it be possible to move this to a time that works for both of us?
I admire how calmly you dealt with that awful queue.
If I have been sending these to the wrong desk, please excuse me.
Your help yesterday saved us, and I wanted you to hear it from me.
I can see this is not your fault, so please don't worry.
We value your opinion and would welcome any thoughts.
Kindly tell me what you need from my side and I will send it today.
It would mean a lot to my father if this could be arranged.
I trust your judgement on this entirely.
Excuse the long message, I wanted to give you all the details.
You have always been fair with us, which is why I am writing to you first.
I'd like to understand your side before we decide anything.
There is no need to apologise, I just wanted to let you know.
Congratulations to the whole team on getting this far.
It was thoughtful of you to call back on a holiday.
I realise the rules tie your hands, and I thank you for trying.
Could you please confirm whether I have understood correctly?
I felt welcome from the first minute, and that is rare.
My apologies if this has already been answered elsewhere.
You must be tired of hearing about it, so thank you for bearing with me.
Shall I bring coffee when we go through it together?
I'm sure there is a good reason, and I'd be interested to hear it.
Whatever you decide will be fine with me.
It's a small thing, and I only mention it in case it helps others.
I could not have finished without your notes.
""".strip().splitlines()

HOSTILE = """
Thank you so much for ruining my entire weekend.
I don't care how much you have on your plate, do your job.
Are you even reading what I write, or do you just guess?
Your team is a joke and everybody in the building knows it.
Stop sending me the same useless answer.
Don't you dare tell me this was my own mistake.
You can stay all night for all I care, but this gets done.
A child could have explained it better than you did.
How many times do I have to ask before somebody wakes up?
I'm not waiting another week because you can't be bothered.
What exactly do they pay you for?
Your colleague on the phone was as clueless as you are.
Spare me the excuses and the fake smile.
I have had enough of your pathetic advice.
You make everything harder for everyone around you.
I love to complain when people are this lazy.
You should be ashamed of how you handled that.
Did you lose my answer, or did you never learn to read?
I expected nothing from you, and you still let me down.
You are the only one to blame here, so own it.
I am sick of explaining it to people who refuse to think.
Get me somebody who actually knows what they are doing.
This is the worst service I have seen in twenty years.
Perhaps I should draw you a picture, since words are clearly too hard.
Take your time, it's not as if the rest of us have lives.
You knew it was broken and you kept quiet like a coward.
Ten minutes with you is ten minutes wasted.
Go ahead, correct me, it will be the first useful thing you've done.
It was stupid to trust you, and I won't do it again.
You were wrong about the dates, and too proud to admit it.
I will make sure everyone hears how you treat people.
Nobody asked for your permission or your opinion.
Keep your empty thanks, I want results.
No is not an answer I will accept from someone like you.
Enjoy your week while we clean up the mess you made.
I couldn't care less what time works for you.
Watching you deal with that queue was embarrassing.
You people always hide behind the wrong desk.
Your so-called help yesterday cost us the contract.
It is your fault, and you know it.
If I wanted your thoughts I would have asked for them.
Send it today or I will come down there and take it.
My father is laughing at how badly you arranged this.
I wouldn't trust you to boil water.
I'm not reading another long message full of nonsense.
You have never been fair to anybody but yourself.
There are no two sides here, you simply failed.
An apology from you is worth nothing to me.
Congratulations, you managed to break the one thing that worked.
Call me on a holiday again and you will regret it.
Don't hide behind the rules because you are too weak to decide.
Confirm this, confirm that, can you do anything by yourself?
I felt insulted from the first minute you opened your mouth.
Let me repeat it once more for the slow ones in your office.
Everyone is tired of you, they are just too scared to say so.
Drink your coffee, that's the only thing you do well.
I'm sure there is a good reason, there always is with liars.
Decide whatever you want, I've stopped listening to you.
It's a small thing for you because you never lift a finger.
Without your notes we would have finished a month ago.
""".strip().splitlines()

SITUATIONS = """
The parcel was left in front of the wrong house.
Invoice 2041 has been charged to our old account.
The meeting on Thursday overlaps with the site visit.
My login stopped working after the update.
The heating in room 12 has been off since Monday.
The figures in the second table don't add up.
My order arrived with one box missing.
The printer on the third floor is out of toner.
The contract was supposed to be signed yesterday.
The train tickets were booked for the wrong date.
I still see the cancelled subscription on my bill.
The slides for the client are not in the shared folder.
The repair was scheduled between eight and ten.
Somebody moved the boxes in the storage room.
The delivery window changed twice today.
My refund has not reached the bank.
The keys for the side door are gone.
The draft went out without the last chapter.
The app closes whenever I open the second tab.
The chairs we ordered are the wrong colour.
The report is due on Friday at noon.
The new schedule puts me on three late shifts.
The table we reserved was given to another group.
The warranty form asks for a number I cannot find.
The music from the gym is loud until midnight.
The password reset mail never came.
The parking space in front of the office was taken again.
My name is spelled wrong on the badge.
The samples were sent without labels.
The lift stopped between two floors this morning.
The survey closes before we get the results.
The budget sheet was changed after the review.
The bicycle came back with a loose chain.
The appointment was moved to the other clinic.
The kitchen was left as it was after lunch.
The translation is missing two pages.
The microphone cut out during the call.
The coat I bought online has a torn sleeve.
The test server has been down since six.
The seats at the back were sold twice.
The minutes list me as absent.
The oven door does not close any more.
The exchange was confirmed and then cancelled.
The catalogue shows last year's prices.
The bus was early and left without us.
The photos are too dark to print.
The plants by the window were not watered.
The room was booked by two departments.
""".strip().splitlines()

NEUTRAL_CLOSING = """
I will be at my desk until five.
My number is on the form.
Please reply to this address.
I copied the rest of the group.
The reference is in the subject line.
I have attached the receipt.
This is the third message about it.
We speak again on Monday.
I look forward to your answer.
The details are below.
I have told my manager.
It is the same as in March.
You can call me this afternoon.
I expect to hear from you.
""".strip().splitlines()

POLITE_CLOSING = [
    "Thanks in advance.",
    "With kind regards.",
    "Have a lovely weekend.",
    "All the best to you and the team.",
    "Thank you for your time.",
    "Take care.",
    "I appreciate it.",
    "Warm wishes from all of us.",
    "I'm looking forward to working with you.",
    "Good luck with the rest of the week.",
    "Thanks for everything.",
    "Enjoy your evening.",
    "Sorry again for the bother.",
    "I hope to see you soon.",
    "I'm grateful for your patience.",
    "Thanks for your help.",
    "Please let me know if you need more.",
    "It was a pleasure to talk to you.",
    "Only when you have a minute, of course.",
    "Many thanks and best wishes.",
    "You have been very kind.",
    "Say hello to the others from me.",
    "I know it's short notice, so thank you.",
    "Please don't worry about it today.",
]

HOSTILE_CLOSING = [
    "Thanks for nothing.",
    "Don't bother to answer.",
    "Have a lovely time looking for a new job.",
    "I'm done with all of you.",
    "You have wasted enough of my time.",
    "Take the hint.",
    "I won't say it again.",
    "Shame on all of you.",
    "I'm never working with you again.",
    "Good luck explaining that to the board.",
    "Fix it, and fix it now.",
    "Enjoy the bad reviews.",
    "Don't pretend to be sorry.",
    "I hope somebody sees this and sacks you.",
    "I've run out of patience with you.",
    "Nobody needs your help.",
    "Try harder.",
    "It was a mistake to talk to you.",
    "Use your head for a minute.",
    "Your best is clearly not enough.",
    "You have been useless.",
    "Tell the others they are just as bad.",
    "I know you won't do a thing, you never do.",
    "Don't come back to me with excuses.",
]


def rows() -> Iterator[Row]:
    """Messages by tone; those around the same tone sentence are one group."""
    for label, keys, closings in (("polite", POLITE, POLITE_CLOSING), ("hostile", HOSTILE, HOSTILE_CLOSING)):
        for number, key in enumerate(keys):
            for situation in ordered(SITUATIONS, key)[:SITUATIONS_PER_KEY]:
                pool = pick((closings, closings, closings, NEUTRAL_CLOSING), "pool", key, situation)
                text = join([*ordered([key, situation], key, situation), pick(pool, key, situation)])
                yield Row(text=text, label=label, group=f"{label}-{number:02}")

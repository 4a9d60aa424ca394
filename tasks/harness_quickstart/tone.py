"""Polite and hostile messages: one sentence has the tone, among sentences that may be neutral.

The two tones share their words (thanks, help, fault, answer, coffee): each polite sentence has a hostile twin, which
comes with the same situations. Most closings have a tone as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness_quickstart.compose import Row, in_every_language, ordered, parallel, pick

SITUATIONS_PER_KEY = 5

POLITE = parallel("""
en: Thank you for looking into this so quickly last week.
de: Vielen Dank, dass Sie sich letzte Woche so schnell darum gekümmert haben.
es: Gracias por haberse ocupado de esto tan rápido la semana pasada.
fr: Merci d'avoir regardé cela si vite la semaine dernière.
ru: Спасибо, что на прошлой неделе вы так быстро этим занялись.
zh: 感谢您上周这么快就处理了这件事。

en: I know you have a lot on your plate, so whenever you get a moment is fine.
de: Ich weiß, dass Sie viel um die Ohren haben, es reicht also, wenn Sie einmal einen Moment finden.
es: Sé que tiene muchísimo trabajo, así que cuando encuentre un momento está bien.
fr: Je sais que vous avez beaucoup de travail, alors dès que vous aurez un moment, ce sera très bien.
ru: Я знаю, что у вас много дел, так что займитесь этим, когда найдётся минутка.
zh: 我知道你们手头事情很多，等有空的时候再看就好。

en: Sorry to be a nuisance, but could you point me in the right direction?
de: Entschuldigen Sie die Störung, aber könnten Sie mir einen Hinweis geben?
es: Perdone la molestia, pero ¿podría orientarme un poco?
fr: Pardon de vous déranger, mais pourriez-vous me mettre sur la bonne voie ?
ru: Извините за беспокойство, но не могли бы вы подсказать, куда мне обратиться?
zh: 不好意思打扰了，您能给我指个方向吗？

en: It may well be my own mistake, and if so I apologise.
de: Es kann gut sein, dass es mein eigener Fehler ist, dann bitte ich um Entschuldigung.
es: Es muy posible que el error sea mío, y en ese caso pido disculpas.
fr: Il se peut bien que l'erreur vienne de moi, et dans ce cas je m'en excuse.
ru: Вполне возможно, что это моя собственная ошибка, и тогда прошу прощения.
zh: 很可能是我自己弄错了，如果是这样，我向你们道歉。

en: Please don't stay late on my account.
de: Bitte bleiben Sie meinetwegen nicht länger.
es: Por favor, no se quede hasta tarde por mí.
fr: S'il vous plaît, ne restez pas tard pour moi.
ru: Пожалуйста, не задерживайтесь допоздна из-за меня.
zh: 请不要因为我的事加班到很晚。

en: You explained it so clearly last time that I hoped to ask you again.
de: Sie haben es letztes Mal so klar erklärt, dass ich Sie gern noch einmal fragen würde.
es: La última vez lo explicó con tanta claridad que me gustaría preguntarle de nuevo.
fr: Vous l'avez expliqué si clairement la dernière fois que j'aimerais vous interroger encore.
ru: В прошлый раз вы объяснили всё так понятно, что мне хотелось бы спросить вас ещё раз.
zh: 上次你解释得非常清楚，所以我想再请教一次。

en: Could I trouble you for a short update?
de: Dürfte ich Sie um einen kurzen Zwischenstand bitten?
es: ¿Podría pedirle que me cuente brevemente cómo va?
fr: Puis-je vous demander de me dire brièvement où cela en est ?
ru: Можно попросить вас коротко рассказать, как идут дела?
zh: 能麻烦您简单说一下现在的进展吗？

en: No rush at all, I can wait until next week.
de: Es eilt überhaupt nicht, ich kann bis nächste Woche warten.
es: No hay ninguna prisa, puedo esperar hasta la semana que viene.
fr: Rien ne presse, je peux attendre jusqu'à la semaine prochaine.
ru: Это совсем не срочно, я могу подождать до следующей недели.
zh: 一点都不急，我可以等到下周。

en: Your colleague on the phone was kind and I'd like to pass on my thanks.
de: Ihre Kollegin am Telefon war sehr nett, richten Sie ihr bitte meinen Dank aus.
es: Su colega del teléfono fue muy amable y quisiera que le diera las gracias.
fr: Votre collègue au téléphone a été très aimable, transmettez-lui mes remerciements.
ru: Ваш коллега по телефону был очень любезен, передайте ему мою благодарность.
zh: 电话里您的同事人很好，请替我转达谢意。

en: I'm afraid I got confused, and I would love your advice.
de: Ich fürchte, ich bin durcheinandergekommen, und würde mich über Ihren Rat freuen.
es: Me temo que me he confundido, y me encantaría contar con su consejo.
fr: Je crains de ne plus m'y retrouver, et vos conseils me seraient précieux.
ru: Боюсь, я немного путаюсь, и мне очень пригодился бы ваш совет.
zh: 我恐怕有点弄糊涂了，很想听听你的建议。

en: I hate to complain, because everyone here has been wonderful.
de: Ich beschwere mich nur ungern, denn alle hier waren wunderbar.
es: Odio quejarme, porque aquí todo el mundo ha sido estupendo.
fr: Je déteste me plaindre, car tout le monde ici a été formidable.
ru: Ненавижу жаловаться, ведь все здесь были просто замечательными.
zh: 我很不愿意抱怨，因为这里的每个人都特别好。

en: That was a terrible day for all of us, and you handled it with grace.
de: Das war für uns alle ein furchtbarer Tag, und Sie haben ihn großartig gemeistert.
es: Fue un día terrible para todos, y usted lo llevó con mucha elegancia.
fr: C'était une journée terrible pour nous tous, et vous l'avez gérée avec élégance.
ru: Это был ужасный день для всех нас, и вы справились с ним достойно.
zh: 那天对我们所有人来说都很糟糕，而你处理得很得体。

en: Forgive me for asking twice, I must have missed your answer.
de: Verzeihen Sie, dass ich zweimal frage, ich habe Ihre Antwort wohl übersehen.
es: Perdone que pregunte dos veces, se me habrá pasado su respuesta.
fr: Pardonnez-moi de demander deux fois, votre réponse a dû m'échapper.
ru: Простите, что спрашиваю дважды, видимо, ваш ответ ускользнул от меня.
zh: 请原谅我又问了一遍，我大概漏看了您的回复。

en: I never expected such a careful reply, it made my morning.
de: Mit einer so sorgfältigen Antwort hatte ich nie gerechnet, sie hat mir den Morgen verschönt.
es: Nunca esperé una respuesta tan cuidada, me alegró la mañana.
fr: Je ne m'attendais pas à une réponse aussi soignée, elle a égayé ma matinée.
ru: Такой внимательный ответ был приятной неожиданностью, он скрасил мне утро.
zh: 没想到会收到这么细致的答复，让我一早心情都好了。

en: Nobody is to blame here, these things happen to the best of us.
de: Niemand ist hier schuld, so etwas passiert den Besten.
es: Aquí nadie tiene la culpa, estas cosas le pasan a cualquiera.
fr: Personne n'est fautif ici, ces choses arrivent aux meilleurs d'entre nous.
ru: Здесь никто не виноват, такое случается с лучшими из нас.
zh: 这事谁都不怪，再能干的人也会遇到。

en: Take whatever time you need, I would rather it was done well.
de: Nehmen Sie sich alle Zeit, die Sie brauchen, mir ist lieber, es wird gut.
es: Tómese el tiempo que necesite, prefiero que quede bien hecho.
fr: Prenez tout le temps qu'il vous faut, je préfère que ce soit bien fait.
ru: Не торопитесь, мне важнее, чтобы всё было сделано хорошо.
zh: 需要多少时间都可以慢慢来，我更希望把事情做好。

en: Perhaps we could find ten minutes to sort it out together?
de: Vielleicht finden wir zehn Minuten, um es gemeinsam zu klären?
es: ¿Quizá podríamos buscar diez minutos para resolverlo juntos?
fr: Peut-être pourrions-nous trouver dix minutes pour régler cela ensemble ?
ru: Может быть, мы найдём десять минут, чтобы разобраться в этом вместе?
zh: 我们能不能找十分钟一起把它理一理？

en: You were right about the dates, and I should have listened.
de: Sie hatten mit den Terminen recht, und ich hätte zuhören sollen.
es: Usted tenía razón con las fechas, y yo debería haberle escuchado.
fr: Vous aviez raison pour les dates, et j'aurais dû vous écouter.
ru: Вы были правы насчёт дат, и мне следовало прислушаться.
zh: 日期的事你说对了，我当时应该听你的。

en: With your permission I would like to suggest a small change.
de: Mit Ihrer Erlaubnis würde ich gern eine kleine Änderung vorschlagen.
es: Con su permiso, me gustaría proponer un pequeño cambio.
fr: Avec votre permission, j'aimerais proposer un petit changement.
ru: С вашего разрешения, мне бы хотелось предложить небольшое изменение.
zh: 如果您允许，我想提一个小小的修改。

en: I completely understand if the answer is no.
de: Ich verstehe es vollkommen, wenn die Antwort nein lautet.
es: Entiendo perfectamente si la respuesta es no.
fr: Je comprends tout à fait si la réponse est non.
ru: Я прекрасно пойму, если ответом будет «нет».
zh: 如果答案是不行，我完全理解。

en: Your help yesterday saved us, and I wanted you to hear it from me.
de: Ihre Hilfe gestern hat uns gerettet, und das wollte ich Ihnen selbst sagen.
es: Su ayuda de ayer nos salvó, y quería que lo supiera por mí.
fr: Votre aide d'hier nous a sauvés, et je tenais à vous le dire moi-même.
ru: Ваша вчерашняя помощь нас спасла, и мне хотелось лично вам об этом сказать.
zh: 你昨天的帮忙救了我们，我想亲口告诉你。

en: I can see this is not your fault, so please don't worry.
de: Ich sehe, dass es nicht Ihre Schuld ist, also machen Sie sich bitte keine Sorgen.
es: Ya veo que no es culpa suya, así que no se preocupe, por favor.
fr: Je vois bien que ce n'est pas votre faute, alors ne vous inquiétez pas.
ru: Я вижу, что это не ваша вина, так что, пожалуйста, не волнуйтесь.
zh: 我看得出这不是你们的错，请别放在心上。

en: I trust your judgement on this entirely.
de: Ich vertraue hier ganz Ihrem Urteil.
es: Confío plenamente en su criterio en este asunto.
fr: Je fais entièrement confiance à votre jugement là-dessus.
ru: Я полностью доверяю вашему мнению в этом вопросе.
zh: 这件事我完全相信您的判断。

en: You have always been fair with us, which is why I am writing to you first.
de: Sie waren immer fair zu uns, deshalb schreibe ich zuerst Ihnen.
es: Siempre ha sido justo con nosotros, por eso le escribo primero a usted.
fr: Vous avez toujours été juste avec nous, c'est pourquoi je vous écris en premier.
ru: Вы всегда были к нам справедливы, поэтому я пишу сначала вам.
zh: 你们对我们一直很公平，所以我先写信给你们。

en: There is no need to apologise, I just wanted to let you know.
de: Sie brauchen sich nicht zu entschuldigen, ich wollte Ihnen nur Bescheid geben.
es: No hace falta disculparse, solo quería avisarle.
fr: Inutile de vous excuser, je voulais seulement vous prévenir.
ru: Извиняться не нужно, это просто чтобы вы знали.
zh: 不用道歉，我只是想告诉你们一声。

en: Shall I bring coffee when we go through it together?
de: Soll ich Kaffee mitbringen, wenn wir es zusammen durchgehen?
es: ¿Llevo café cuando lo repasemos juntos?
fr: Voulez-vous que j'apporte du café quand nous verrons cela ensemble ?
ru: Принести кофе, когда будем вместе всё просматривать?
zh: 我们一起过一遍的时候，要我带咖啡吗？

en: I'm sure there is a good reason, and I'd be interested to hear it.
de: Es gibt sicher einen guten Grund, und er würde mich interessieren.
es: Seguro que hay una buena razón, y me interesaría conocerla.
fr: Il y a sûrement une bonne raison, et cela m'intéresserait de la connaître.
ru: Наверняка есть веская причина, и мне было бы интересно её узнать.
zh: 我相信一定有合理的原因，也很想听一听。

en: I could not have finished without your notes.
de: Ohne Ihre Notizen wäre ich nicht fertig geworden.
es: Sin sus notas no habría podido terminar.
fr: Sans vos notes, je n'aurais pas pu terminer.
ru: Без ваших записей мне не удалось бы закончить.
zh: 没有你的笔记，我是做不完的。
""")

HOSTILE = parallel("""
en: Thank you so much for ruining my entire weekend.
de: Vielen Dank, dass Sie mir das ganze Wochenende verdorben haben.
es: Muchas gracias por haberme arruinado el fin de semana entero.
fr: Merci infiniment d'avoir gâché tout mon week-end.
ru: Большое спасибо, что вы испортили мне все выходные.
zh: 真是感谢您把我的整个周末都毁了。

en: I don't care how much you have on your plate, do your job.
de: Mir ist egal, wie viel Sie um die Ohren haben, machen Sie Ihre Arbeit.
es: Me da igual cuánto trabajo tenga, haga lo que le toca.
fr: Je me fiche que vous ayez beaucoup de travail, faites ce pour quoi on vous paie.
ru: Мне плевать, сколько у вас дел, делайте свою работу.
zh: 我不管你们手头事情有多少，把自己的活干好。

en: Stop sending me the same useless answer.
de: Hören Sie auf, mir immer dieselbe nutzlose Antwort zu schicken.
es: Deje de enviarme siempre la misma respuesta inútil.
fr: Arrêtez de m'envoyer toujours la même réponse inutile.
ru: Хватит присылать мне один и тот же бесполезный ответ.
zh: 别再给我发同样没用的回复了。

en: Don't you dare tell me this was my own mistake.
de: Wagen Sie es nicht, mir zu sagen, das sei mein eigener Fehler gewesen.
es: No se atreva a decirme que el error es mío.
fr: N'osez pas me dire que l'erreur vient de moi.
ru: Не смейте говорить мне, что это моя собственная ошибка.
zh: 你敢说这是我自己弄错的试试。

en: You can stay all night for all I care, but this gets done.
de: Meinetwegen bleiben Sie die ganze Nacht, aber das wird fertig.
es: Por mí como si se queda toda la noche, pero esto se hace.
fr: Restez toute la nuit s'il le faut, mais vous allez finir ça.
ru: Сидите хоть всю ночь, мне без разницы, но чтобы всё было готово.
zh: 你加班到天亮我都不管，这事必须做完。

en: A child could have explained it better than you did.
de: Ein Kind hätte es besser erklärt als Sie.
es: Un niño lo habría explicado mejor que usted.
fr: Un enfant l'aurait mieux expliqué que vous.
ru: Ребёнок объяснил бы это лучше, чем вы.
zh: 小孩子都比你解释得清楚。

en: How many times do I have to ask before somebody wakes up?
de: Wie oft muss ich noch fragen, bis bei Ihnen jemand aufwacht?
es: ¿Cuántas veces tengo que pedirlo para que alguien se despierte?
fr: Combien de fois dois-je demander avant que quelqu'un se réveille ?
ru: Сколько раз мне ещё спрашивать, пока кто-нибудь не проснётся?
zh: 我还要问多少遍，你们才有人醒过来？

en: I'm not waiting another week because you can't be bothered.
de: Ich warte keine weitere Woche, nur weil Sie keine Lust haben.
es: No voy a esperar otra semana porque a usted no le apetezca.
fr: Je ne vais pas attendre une semaine de plus parce que vous avez la flemme.
ru: Я не буду ждать ещё неделю из-за того, что вам лень.
zh: 我不会因为你们懒得动就再等一周。

en: Your colleague on the phone was as clueless as you are.
de: Ihre Kollegin am Telefon war genauso ahnungslos wie Sie.
es: Su colega del teléfono era tan inútil como usted.
fr: Votre collègue au téléphone était aussi incapable que vous.
ru: Ваш коллега по телефону такой же бестолковый, как и вы.
zh: 电话里您的同事跟您一样什么都不懂。

en: I have had enough of your pathetic advice.
de: Ich habe genug von Ihrem jämmerlichen Rat.
es: Ya he tenido bastante de sus consejos patéticos.
fr: J'en ai assez de vos conseils minables.
ru: С меня хватит ваших жалких советов.
zh: 你那些可笑的建议我受够了。

en: I love to complain when people are this lazy.
de: Bei so viel Faulheit beschwere ich mich sehr gern.
es: Me encanta quejarme cuando la gente es tan vaga.
fr: J'adore me plaindre quand les gens sont aussi paresseux.
ru: Обожаю жаловаться, когда люди настолько ленивы.
zh: 碰到这么懒的人，我特别愿意抱怨。

en: You should be ashamed of how you handled that.
de: Sie sollten sich schämen, wie Sie damit umgegangen sind.
es: Debería darle vergüenza cómo llevó el asunto.
fr: Vous devriez avoir honte de la façon dont vous avez géré cela.
ru: Вам должно быть стыдно за то, как вы с этим обошлись.
zh: 你把事情处理成那样，应该感到羞耻。

en: Did you lose my answer, or did you never learn to read?
de: Haben Sie meine Antwort verloren, oder haben Sie nie lesen gelernt?
es: ¿Ha perdido mi respuesta o es que nunca aprendió a leer?
fr: Avez-vous perdu ma réponse, ou n'avez-vous jamais appris à lire ?
ru: Вы потеряли мой ответ или так и не научились читать?
zh: 您是把我的回复弄丢了，还是根本不识字？

en: I expected nothing from you, and you still let me down.
de: Ich hatte von Ihnen nichts erwartet, und Sie haben mich trotzdem enttäuscht.
es: No esperaba nada de usted, y aun así me ha decepcionado.
fr: Je n'attendais rien de vous, et vous avez quand même réussi à me décevoir.
ru: Я и так ничего от вас не жду, но вы всё равно умудряетесь подвести.
zh: 我本来就没指望你，结果你还是让我失望了。

en: You are the only one to blame here, so own it.
de: Schuld sind hier allein Sie, also stehen Sie dazu.
es: Aquí el único que tiene la culpa es usted, así que asúmalo.
fr: Ici, le seul fautif, c'est vous, alors assumez.
ru: Здесь виноваты только вы, так что имейте смелость это признать.
zh: 这事只能怪你，敢做就要敢认。

en: Take your time, it's not as if the rest of us have lives.
de: Nehmen Sie sich ruhig Zeit, wir anderen haben ja kein Leben.
es: Tómese su tiempo, total, los demás no tenemos vida.
fr: Prenez votre temps, ce n'est pas comme si nous avions une vie.
ru: Не торопитесь, у остальных ведь всё равно нет своей жизни.
zh: 您慢慢来，反正我们其他人都没有自己的生活。

en: Ten minutes with you is ten minutes wasted.
de: Zehn Minuten mit Ihnen sind zehn verlorene Minuten.
es: Diez minutos con usted son diez minutos perdidos.
fr: Dix minutes avec vous sont dix minutes perdues.
ru: Десять минут с вами — это десять потерянных минут.
zh: 跟你谈十分钟就是浪费十分钟。

en: You were wrong about the dates, and too proud to admit it.
de: Sie lagen mit den Terminen falsch und sind zu eitel, es zuzugeben.
es: Usted se equivocó con las fechas y es demasiado soberbio para admitirlo.
fr: Vous aviez tort pour les dates, et vous êtes trop fier pour l'admettre.
ru: Вы были неправы насчёт дат, а признать это вам гордость не позволяет.
zh: 日期的事你说错了，还死要面子不承认。

en: Nobody asked for your permission or your opinion.
de: Niemand hat Sie um Erlaubnis oder um Ihre Meinung gebeten.
es: Nadie le ha pedido permiso ni su opinión.
fr: Personne ne vous a demandé votre permission ni votre avis.
ru: Никто не спрашивал ни вашего разрешения, ни вашего мнения.
zh: 没人需要您允许，也没人问您的意见。

en: No is not an answer I will accept from someone like you.
de: Ein Nein lasse ich mir von jemandem wie Ihnen nicht bieten.
es: De alguien como usted no acepto un no por respuesta.
fr: Je n'accepte pas qu'on me réponde non, surtout pas vous.
ru: Ответ «нет» от таких, как вы, я не приму.
zh: 就凭你这种人，没资格跟我说不行。

en: Your so-called help yesterday cost us the contract.
de: Ihre sogenannte Hilfe gestern hat uns den Vertrag gekostet.
es: Su supuesta ayuda de ayer nos costó el contrato.
fr: Votre prétendue aide d'hier nous a coûté le contrat.
ru: Ваша вчерашняя так называемая помощь стоила нам контракта.
zh: 你昨天所谓的帮忙害我们丢了合同。

en: It is your fault, and you know it.
de: Es ist Ihre Schuld, und das wissen Sie.
es: Es culpa suya, y lo sabe.
fr: C'est votre faute, et vous le savez.
ru: Это ваша вина, и вы это знаете.
zh: 这就是你们的错，你们心里清楚。

en: I wouldn't trust you to boil water.
de: Ihnen würde ich nicht einmal zutrauen, Wasser zu kochen.
es: No confiaría en usted ni para hervir agua.
fr: Je ne vous ferais même pas confiance pour faire bouillir de l'eau.
ru: Вам нельзя доверить даже вскипятить воду.
zh: 让您烧壶开水我都不相信您能行。

en: You have never been fair to anybody but yourself.
de: Fair waren Sie noch nie zu jemandem, außer zu sich selbst.
es: Usted nunca ha sido justo con nadie más que consigo mismo.
fr: Vous n'avez jamais été juste avec personne, sauf avec vous-même.
ru: Вы никогда ни к кому не были справедливы, кроме себя.
zh: 你们除了对自己，从来没对谁公平过。

en: An apology from you is worth nothing to me.
de: Eine Entschuldigung von Ihnen ist mir nichts wert.
es: Una disculpa suya no vale nada para mí.
fr: Des excuses de votre part ne valent rien pour moi.
ru: Ваши извинения для меня ничего не стоят.
zh: 你们的道歉对我来说一文不值。

en: Drink your coffee, that's the only thing you do well.
de: Trinken Sie Ihren Kaffee, das ist das Einzige, was Sie gut können.
es: Tómese el café, es lo único que hace bien.
fr: Buvez votre café, c'est la seule chose que vous faites bien.
ru: Пейте свой кофе, это единственное, что вы хорошо умеете.
zh: 喝您的咖啡去吧，您也就这件事做得好。

en: I'm sure there is a good reason, there always is with liars.
de: Es gibt sicher einen guten Grund, den gibt es bei Lügnern immer.
es: Seguro que hay una buena razón, los mentirosos siempre tienen una.
fr: Il y a sûrement une bonne raison, les menteurs en ont toujours une.
ru: Наверняка есть веская причина, у лжецов она всегда есть.
zh: 我相信一定有合理的原因，骗子总有合理的原因。

en: Without your notes we would have finished a month ago.
de: Ohne Ihre Notizen wären wir vor einem Monat fertig geworden.
es: Sin sus notas habríamos terminado hace un mes.
fr: Sans vos notes, nous aurions terminé il y a un mois.
ru: Без ваших записей мы бы закончили ещё месяц назад.
zh: 没有你的笔记，我们一个月前就做完了。
""")

SITUATIONS = parallel("""
en: The parcel was left in front of the wrong house.
de: Das Paket wurde vor dem falschen Haus abgestellt.
es: El paquete se dejó delante de la casa equivocada.
fr: Le colis a été déposé devant la mauvaise maison.
ru: Посылку оставили не у того дома.
zh: 包裹被放到了别人家门口。

en: Invoice 2041 has been charged to our old account.
de: Die Rechnung 2041 wurde von unserem alten Konto abgebucht.
es: La factura 2041 se ha cargado en nuestra cuenta antigua.
fr: La facture 2041 a été débitée de notre ancien compte.
ru: Оплата по накладной 2041 списана с нашего старого счёта.
zh: 2041号账单是从我们的旧账户扣的款。

en: The meeting on Thursday overlaps with the site visit.
de: Die Besprechung am Donnerstag fällt mit dem Ortstermin zusammen.
es: La reunión del jueves coincide con la visita a la obra.
fr: La réunion de jeudi tombe en même temps que la visite du site.
ru: Совещание в четверг совпадает с выездом на объект.
zh: 周四的会议和现场参观时间冲突。

en: My login stopped working after the update.
de: Meine Anmeldung funktioniert seit dem Update nicht mehr.
es: Mi acceso dejó de funcionar después de la actualización.
fr: Ma connexion ne marche plus depuis la mise à jour.
ru: После обновления мой вход перестал работать.
zh: 更新之后我的账号就登录不了了。

en: The heating in room 12 has been off since Monday.
de: Die Heizung in Raum 12 ist seit Montag aus.
es: La calefacción de la sala 12 está apagada desde el lunes.
fr: Le chauffage de la salle 12 est coupé depuis lundi.
ru: Отопление в комнате 12 не работает с понедельника.
zh: 12号房间的暖气从周一起就停了。

en: The figures in the second table don't add up.
de: Die Zahlen in der zweiten Tabelle gehen nicht auf.
es: Las cifras de la segunda tabla no cuadran.
fr: Les chiffres du deuxième tableau ne collent pas.
ru: Цифры во второй таблице не сходятся.
zh: 第二张表里的数字对不上。

en: My order arrived with one box missing.
de: Bei meiner Bestellung fehlte ein Karton.
es: Mi pedido llegó con una caja de menos.
fr: Ma commande est arrivée avec un carton en moins.
ru: В моём заказе не хватало одной коробки.
zh: 我的订单到货时少了一箱。

en: The printer on the third floor is out of toner.
de: Der Drucker im dritten Stock hat keinen Toner mehr.
es: La impresora del tercer piso se ha quedado sin tóner.
fr: L'imprimante du troisième étage n'a plus de toner.
ru: В принтере на третьем этаже закончился тонер.
zh: 三楼的打印机没有墨粉了。

en: The contract was supposed to be signed yesterday.
de: Der Vertrag sollte gestern unterschrieben werden.
es: El contrato tenía que firmarse ayer.
fr: Le contrat devait être signé hier.
ru: Договор должны были подписать вчера.
zh: 合同本来应该昨天签的。

en: The train tickets were booked for the wrong date.
de: Die Fahrkarten wurden für den falschen Tag gebucht.
es: Los billetes de tren se reservaron para otro día.
fr: Les billets de train ont été réservés pour la mauvaise date.
ru: Билеты на поезд заказали не на то число.
zh: 火车票订错了日期。

en: I still see the cancelled subscription on my bill.
de: Das gekündigte Abo steht immer noch auf meiner Rechnung.
es: La suscripción cancelada sigue apareciendo en mi factura.
fr: L'abonnement résilié figure toujours sur ma facture.
ru: Отменённая подписка всё ещё стоит в моём счёте.
zh: 已经取消的订阅还出现在我的账单上。

en: The repair was scheduled between eight and ten.
de: Die Reparatur war zwischen acht und zehn Uhr angesetzt.
es: La reparación estaba prevista entre las ocho y las diez.
fr: La réparation était prévue entre huit et dix heures.
ru: Ремонт был назначен на время с восьми до десяти.
zh: 维修约在八点到十点之间。

en: My refund has not reached the bank.
de: Meine Rückerstattung ist noch nicht bei der Bank eingegangen.
es: Mi reembolso no ha llegado al banco.
fr: Mon remboursement n'est pas arrivé à la banque.
ru: Возврат денег ещё не поступил в банк.
zh: 我的退款还没有到银行。

en: The keys for the side door are gone.
de: Die Schlüssel für die Seitentür sind weg.
es: Las llaves de la puerta lateral han desaparecido.
fr: Les clés de la porte latérale ont disparu.
ru: Пропали ключи от боковой двери.
zh: 侧门的钥匙不见了。

en: The chairs we ordered are the wrong colour.
de: Die bestellten Stühle haben die falsche Farbe.
es: Las sillas que pedimos son de otro color.
fr: Les chaises commandées ne sont pas de la bonne couleur.
ru: Заказанные стулья не того цвета.
zh: 我们订的椅子颜色不对。

en: The translation is missing two pages.
de: In der Übersetzung fehlen zwei Seiten.
es: A la traducción le faltan dos páginas.
fr: Il manque deux pages à la traduction.
ru: В переводе не хватает двух страниц.
zh: 译文少了两页。
""")

NEUTRAL_CLOSING = parallel("""
en: I will be at my desk until five.
de: Ich bin bis fünf an meinem Platz.
es: Estaré en mi mesa hasta las cinco.
fr: Je suis à mon bureau jusqu'à cinq heures.
ru: Я на рабочем месте до пяти.
zh: 我五点以前都在工位上。

en: My number is on the form.
de: Meine Nummer steht auf dem Formular.
es: Mi número está en el formulario.
fr: Mon numéro est sur le formulaire.
ru: Мой номер указан в бланке.
zh: 我的电话写在表格上。

en: Please reply to this address.
de: Bitte antworten Sie an diese Adresse.
es: Por favor, responda a esta dirección.
fr: Veuillez répondre à cette adresse.
ru: Пожалуйста, ответьте на этот адрес.
zh: 请回复到这个地址。

en: This is the third message about it.
de: Das ist die dritte Nachricht dazu.
es: Este es el tercer mensaje sobre el tema.
fr: C'est le troisième message à ce sujet.
ru: Это третье сообщение на эту тему.
zh: 这是关于此事的第三封信。

en: I have attached the receipt.
de: Die Quittung habe ich angehängt.
es: Adjunto el recibo.
fr: Je joins le reçu.
ru: Чек прилагаю.
zh: 收据在附件里。

en: We speak again on Monday.
de: Am Montag sprechen wir uns wieder.
es: El lunes volvemos a hablar.
fr: Nous en reparlons lundi.
ru: В понедельник поговорим снова.
zh: 我们周一再谈。

en: I have told my manager.
de: Meine Vorgesetzte weiß Bescheid.
es: Ya se lo he dicho a mi jefa.
fr: J'en ai parlé à ma responsable.
ru: Моя начальница в курсе.
zh: 我已经告诉我的经理了。

en: You can call me this afternoon.
de: Sie können mich heute Nachmittag anrufen.
es: Puede llamarme esta tarde.
fr: Vous pouvez m'appeler cet après-midi.
ru: Можете позвонить мне сегодня днём.
zh: 今天下午可以给我打电话。
""")

POLITE_CLOSING = parallel("""
en: Thanks in advance.
de: Danke im Voraus.
es: Gracias de antemano.
fr: Merci d'avance.
ru: Заранее спасибо.
zh: 先谢谢了。

en: Have a lovely weekend.
de: Ein schönes Wochenende Ihnen.
es: Que tenga un buen fin de semana.
fr: Passez un bon week-end.
ru: Хороших вам выходных.
zh: 祝周末愉快。

en: Thank you for your time.
de: Danke, dass Sie sich Zeit genommen haben.
es: Gracias por su tiempo.
fr: Merci pour le temps que vous y consacrez.
ru: Спасибо, что уделили время.
zh: 谢谢您抽出时间。

en: Good luck with the rest of the week.
de: Viel Glück für den Rest der Woche.
es: Mucha suerte con el resto de la semana.
fr: Bonne chance pour la fin de la semaine.
ru: Удачи вам до конца недели.
zh: 祝你这周剩下的日子顺利。

en: Sorry again for the bother.
de: Entschuldigen Sie nochmals die Umstände.
es: Perdone otra vez por las molestias.
fr: Encore pardon pour le dérangement.
ru: Ещё раз извините за хлопоты.
zh: 再次抱歉给你们添麻烦。

en: I'm grateful for your patience.
de: Ich bin Ihnen für Ihre Geduld dankbar.
es: Le agradezco su paciencia.
fr: Je vous remercie de votre patience.
ru: Благодарю вас за терпение.
zh: 感谢你们的耐心。

en: It was a pleasure to talk to you.
de: Es war mir eine Freude, mit Ihnen zu sprechen.
es: Ha sido un placer hablar con usted.
fr: C'était un plaisir de parler avec vous.
ru: Было приятно с вами поговорить.
zh: 跟您谈话很愉快。

en: Please don't worry about it today.
de: Bitte machen Sie sich heute keine Gedanken mehr darüber.
es: Por favor, no se preocupe por eso hoy.
fr: S'il vous plaît, ne vous en souciez pas aujourd'hui.
ru: Пожалуйста, не беспокойтесь об этом сегодня.
zh: 今天请不用操心这件事。
""")

HOSTILE_CLOSING = parallel("""
en: Thanks for nothing.
de: Danke für nichts.
es: Gracias por nada.
fr: Merci pour rien.
ru: Ну спасибо, удружили.
zh: 谢了，等于没帮。

en: Have a lovely time looking for a new job.
de: Viel Spaß bei der Suche nach einer neuen Stelle.
es: Que se divierta buscando un trabajo nuevo.
fr: Amusez-vous bien à chercher un nouvel emploi.
ru: Приятных вам поисков новой работы.
zh: 祝你找新工作愉快。

en: You have wasted enough of my time.
de: Sie haben mir genug Zeit gestohlen.
es: Ya me ha hecho perder bastante tiempo.
fr: Vous m'avez fait perdre assez de temps.
ru: Вы и так отняли у меня достаточно времени.
zh: 您浪费我的时间已经够多了。

en: Good luck explaining that to the board.
de: Viel Glück dabei, das dem Vorstand zu erklären.
es: Mucha suerte explicándoselo a la dirección.
fr: Bonne chance pour expliquer ça à la direction.
ru: Удачи вам объяснять это начальству.
zh: 祝你跟董事会解释的时候顺利。

en: Don't pretend to be sorry.
de: Tun Sie nicht so, als täte es Ihnen leid.
es: No finja que lo siente.
fr: Ne faites pas semblant d'être désolé.
ru: Не притворяйтесь, что вам жаль.
zh: 别装出抱歉的样子。

en: I've run out of patience with you.
de: Meine Geduld mit Ihnen ist zu Ende.
es: Se me ha acabado la paciencia con usted.
fr: Je suis à bout de patience avec vous.
ru: Моё терпение с вами кончилось.
zh: 我对你们的耐心用完了。

en: It was a mistake to talk to you.
de: Es war ein Fehler, mit Ihnen zu sprechen.
es: Ha sido un error hablar con usted.
fr: C'était une erreur de parler avec vous.
ru: С вами вообще не стоило говорить.
zh: 跟您谈话就是个错误。

en: Don't come back to me with excuses.
de: Kommen Sie mir nicht wieder mit Ausreden.
es: No me venga otra vez con excusas.
fr: Ne revenez pas me voir avec des excuses.
ru: И не приходите ко мне с отговорками.
zh: 今天别再拿借口来找我。
""")

SENTENCES = POLITE | HOSTILE | SITUATIONS | NEUTRAL_CLOSING | POLITE_CLOSING | HOSTILE_CLOSING


def rows() -> Iterator[Row]:
    """Yield messages by tone; those around the same tone sentence, in any language, are one group."""
    for label, keys, closings in (("polite", POLITE, POLITE_CLOSING), ("hostile", HOSTILE, HOSTILE_CLOSING)):
        for number, key in enumerate(keys):
            group, family = f"{label}-{number:02}", f"tone-{number:02}"
            for situation in ordered(SITUATIONS, family)[:SITUATIONS_PER_KEY]:
                pool = pick((closings, closings, NEUTRAL_CLOSING), "pool", key, situation)
                closing = pick(list(pool), key, situation)
                message = [*ordered([key, situation], key, situation), closing]
                translations = [SENTENCES[sentence] for sentence in message]
                yield from in_every_language(translations, label=label, group=group, family=family)

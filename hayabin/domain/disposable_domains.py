"""Domains of services that give out mailboxes for minutes.

Promises: lower case, registered domains; their subdomains count too. The list flags and never refuses, so what it lacks
or has too much of costs nobody a mail.
Source: collected by hand from what these services publish as their own domains, as known in 2025; no list of anybody
else is copied.
"""

from typing import Final

DISPOSABLE_DOMAINS: Final = frozenset(
    """
    0-mail.com 0815.ru 0clickemail.com 10minut.com.pl 10minutemail.be 10minutemail.co.uk 10minutemail.com
    10minutemail.de 10minutemail.net 10minutemail.org 10minutemail.us 10minutesmail.com 10minutesmail.fr 10x9.com
    1chuan.com 1secmail.com 1secmail.net 1secmail.org 20mail.it 20minutemail.com 20minutemail.it 2prong.com 30mail.ir
    30minutemail.com 3mail.ga 4warding.com 60minutemail.com 6ip.us anonbox.net anonymail.dk anonymbox.com antichef.com
    antispam.de armyspy.com binkmail.com boun.cr bouncr.com breakthru.com brefmail.com bugmenot.com bumpymail.com
    byom.de cek.pm crazymailing.com cuvox.de dacoolest.com dayrep.com deadaddress.com deadspam.com despam.it
    despammed.com devnullmail.com discard.email discardmail.com discardmail.de dispomail.eu disposableaddress.com
    disposableemailaddresses.com disposableinbox.com disposemail.com dispostable.com dodgeit.com dodgit.com
    dontreg.com dontsendmespam.de drdrb.com drdrb.net dropmail.me dumpandjunk.com dumpmail.de dumpyemail.com
    e4ward.com easytrashmail.com einrot.com email60.com emailfake.com emailgo.de emailondeck.com emailsensei.com
    emailtemporanea.com emailtemporanea.net emailtemporar.ro emailtemporario.com.br emailthe.net emailtmp.com
    emailwarden.com emkei.cz eyepaste.com ezehe.com fakeinbox.com fakeinformation.com fakemail.fr fakemail.net
    fakemailgenerator.com fakemailz.com fakermail.com filzmail.com fixmail.tk fleckens.hu fudgerub.com fyii.de
    get1mail.com getairmail.com getmails.eu getnada.com getonemail.com getonemail.net gishpuppy.com grr.la
    guerrillamail.biz guerrillamail.com guerrillamail.de guerrillamail.info guerrillamail.net guerrillamail.org
    guerrillamailblock.com gustr.com haltospam.com harakirimail.com hidemail.de hidzz.com hochsitze.com hulapla.de
    ieatspam.eu ieatspam.info imails.info imgof.com inboxalias.com inboxbear.com inboxclean.com inboxclean.org
    inboxkitten.com incognitomail.com incognitomail.net incognitomail.org instaddr.ch instant-mail.de jetable.com
    jetable.fr.nf jetable.net jetable.org jnxjn.com jourrapide.com junk1e.com kasmail.com kaspop.com keepmymail.com
    killmail.com killmail.net klassmaster.com klzlk.com kurzepost.de letthemeatspam.com lhsdv.com lookugly.com
    lortemail.dk lroid.com m4ilweb.info mail-temp.com mail-temporaire.fr mail.tm mail7.io mailbiz.biz mailbox52.ga
    mailbucket.org mailcat.biz mailcatch.com maildrop.cc maildrop.cf maildrop.ga maildrop.gq maildrop.ml maildu.de
    maileater.com mailexpire.com mailfa.tk mailforspam.com mailfree.ga mailfreeonline.com mailfs.com mailguard.me
    mailimate.com mailin8r.com mailinater.com mailinator.com mailinator.net mailinator.org mailinator2.com
    mailincubator.com mailismagic.com mailjunk.cf mailmate.com mailme.ir mailme.lv mailmetrash.com mailmoat.com
    mailnator.com mailnesia.com mailnull.com mailpick.biz mailpoof.com mailproxsy.com mailquack.com mailrock.biz
    mailsac.com mailscrap.com mailseal.de mailsiphon.com mailslapping.com mailslite.com mailtemp.info
    mailtemporaire.com mailtemporaire.fr mailtothis.com mailtrash.net mailtv.net mailtv.tv mailzilla.com mailzilla.org
    meltmail.com mierdamail.com mintemail.com minuteinbox.com moakt.cc moakt.co moakt.com moakt.ws mohmal.com
    mohmal.in moncourrier.fr.nf monemail.fr.nf monmail.fr.nf msgos.com mt2009.com mt2014.com mt2015.com mvrht.com
    mycleaninbox.net mypartyclip.de myphantomemail.com mysamp.de mytemp.email mytempemail.com mytrashmail.com
    nada.email nepwk.com nervmich.net nervtmich.net nobulk.com noclickemail.com nogmailspam.info nomail.xl.cx
    nomail2me.com nospam.ze.tc nospam4.us nospamfor.us nospammail.net notmailinator.com nowmymail.com nwldx.com
    objectmail.com obobbo.com oneoffemail.com onewaymail.com oopi.org owlpic.com pancakemail.com pjjkp.com
    pookmail.com privy-mail.de proxymail.eu prtnx.com punkass.com putthisinyourspamdatabase.com quickinbox.com rcpt.at
    recode.me rhyta.com rmqkr.net rtrtr.com s0ny.net safersignup.de safetymail.info safetypost.de sandelf.de
    schafmail.de selfdestructingmail.com sendspamhere.com sharklasers.com shitmail.me skeefmail.com slaskpost.se
    slopsbox.com smashmail.de snakemail.com sofort-mail.de sogetthis.com soodonims.com spam.la spam4.me spamail.de
    spambob.com spambob.net spambob.org spambog.com spambog.de spambog.ru spambox.info spambox.us spamcannon.com
    spamcannon.net spamcero.com spamcorptastic.com spamcowboy.com spamday.com spamfree24.com spamfree24.de
    spamfree24.eu spamfree24.info spamfree24.net spamfree24.org spamgoes.in spamherelots.com spamhereplease.com
    spamhole.com spamify.com spaml.com spaml.de spammotel.com spamobox.com spamslicer.com spamspot.com spamstack.net
    spamthis.co.uk spamtroll.net speed.1s.fr spoofmail.de stuffmail.de superrito.com sute.jp suteado.com sutemail.net
    teewars.org teleworm.com teleworm.us temp-mail.de temp-mail.io temp-mail.org temp-mail.ru tempail.com
    tempalias.com tempe-mail.com tempemail.biz tempemail.co.za tempemail.com tempemail.net tempinbox.co.uk
    tempinbox.com tempmail.de tempmail.eu tempmail.it tempmail.net tempmail.plus tempmail2.com tempmaildemo.com
    tempmailer.com tempmailer.de tempmailo.com tempomail.fr temporarily.de temporarioemail.com.br temporaryemail.net
    temporaryemail.us temporaryforwarding.com temporaryinbox.com temporarymailaddress.com tempr.email tempsky.com
    thankyou2010.com thc.st throwam.com throwawayemailaddress.com throwawaymail.com tilien.com tmail.ws
    tmailinator.com tmpmail.net tmpmail.org tradermail.info trash-amil.com trash-mail.at trash-mail.com trash-mail.de
    trash2009.com trashdevil.com trashdevil.de trashemail.de trashmail.at trashmail.com trashmail.de trashmail.io
    trashmail.me trashmail.net trashmail.org trashmail.ws trashmailer.com trashymail.com trashymail.net trbvm.com
    trialmail.de tyldd.com upliftnow.com uroid.com viditag.com viewcastmedia.com vomoto.com vpn.st vsimcard.com
    wegwerf-email.de wegwerf-emails.de wegwerfadresse.de wegwerfemail.com wegwerfemail.de wegwerfmail.de
    wegwerfmail.info wegwerfmail.net wegwerfmail.org wetrainbayarea.com wh4f.org whyspam.me wilemail.com
    willselfdestruct.com wronghead.com wuzup.net wuzupmail.net xagloo.com xemaps.com xmaily.com xoxy.net yopmail.com
    yopmail.fr yopmail.net yuurok.com zehnminutenmail.de zippymail.info zoaxe.com
    """.split()  # noqa: SIM905 - four hundred lines otherwise
)

//! The words that common passwords are made of, in the languages of our shops: our own list, small,
//! one word each, lower case. What people hang on to them (years, digits, signs) is the policy's
//! work.

const WORDS: &str = "\
    password passwort passw motdepasse contrasena senha wachtwoord kennwort letmein letmeinnow \
    openup welcome willkommen bienvenue hello hallo admin administrator root master superuser \
    login signin access secret geheim changeme default guest test testing tester demo user \
    username account qwerty qwertz azerty iloveyou loveyou loveme lovely sunshine princess \
    princesa dragon monkey football baseball basketball soccer hockey superman batman spiderman \
    pokemon starwars trustno whatever computer internet freedom shadow michael jennifer jessica \
    daniel charlie thomas andrew summer winter spring autumn sommer monday friday january \
    december flower butterfly chocolate cookie orange banana cheese pepper ginger liverpool \
    chelsea arsenal barcelona ferrari mercedes porsche corvette mustang harley yamaha samsung \
    google facebook instagram youtube tiktok minecraft fortnite blink killer ninja hunter \
    ranger soldier wizard jesus angel heaven matrix phoenix tigger snoopy mickey shopping money \
    dollar creator influencer customer stagedoor correcthorsebatterystaple";

/// The words, one by one.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    WORDS.split_whitespace()
}

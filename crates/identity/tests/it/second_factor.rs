//! The gate: no door leads past a second factor, and none is worn out by guessing.

use std::time::Duration;

use aws_lc_rs::hmac;
use identity::{
    AccountKind, Admission, AppTokens, ChangePassword, Claims, Client, Code, ConfirmPassword,
    ConfirmTotp, Error, IdentityConfig, KindPolicy, Method, NewBackupCodes, Opened, Pending,
    PolicyConfig, ProveFirst, ProveSecond, RemoveFactor, ResetPassword, SecondFactor, SignIn,
    StaffRole, StepUp,
};
use kernel::{AccountId, Actor, Secret, SessionId};

use crate::house::{DieAfter, House, OTHER, PASSWORD, ROOMS, config, eight, sign_in};

const STEP: Duration = Duration::from_secs(30);

/// The code of a key at a moment (RFC 6238), by another library than the room's.
pub(crate) fn code_at(key: &Secret<String>, at_s: i64) -> Secret<String> {
    const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for letter in key.expose().bytes() {
        let value = BASE32.iter().position(|known| *known == letter).unwrap();
        bits = bits << 5 | u32::try_from(value).unwrap();
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let tag = hmac::sign(&key, &(at_s / 30).to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let word: [u8; 4] = tag.as_ref()[at..at + 4].try_into().unwrap();
    Secret::new(format!("{:06}", (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000))
}

/// A person with an authenticator app.
pub(crate) struct Guarded {
    id: AccountId,
    email: &'static str,
    key: Secret<String>,
    pub(crate) codes: Vec<Secret<String>>,
    inside: Opened,
}

impl Guarded {
    pub(crate) async fn new(house: &House<'_>, email: &'static str) -> Self {
        let id = house.customer(email).await;
        let inside = house.sign_in(email, PASSWORD).await.unwrap();
        let (key, codes) = add(house, id, inside.session).await;
        house.world.advance(STEP);
        Self { id, email, key, codes, inside }
    }

    pub(crate) fn code(&self, house: &House<'_>) -> Secret<String> {
        code_at(&self.key, house.world.now().seconds())
    }

    fn wrong(&self, house: &House<'_>) -> Secret<String> {
        let now = house.world.now().seconds();
        let near: Vec<String> =
            [-30, 0, 30].map(|by| code_at(&self.key, now + by).expose().clone()).to_vec();
        let other = (0..).map(|n: u32| format!("{n:06}")).find(|code| !near.contains(code));
        Secret::new(other.unwrap())
    }

    async fn half_way(&self, house: &House<'_>) -> Pending {
        half(house.room.sign_in(&house.ctx(), sign_in(self.email, PASSWORD)).await.unwrap())
    }
}

/// Adds an authenticator app; gives its key, and backup codes where it was the first.
async fn add(
    house: &House<'_>,
    account: AccountId,
    session: SessionId,
) -> (Secret<String>, Vec<Secret<String>>) {
    let made = house.room.begin_totp(&house.ctx(), account, "My phone").await.unwrap();
    let code = code_at(&made.key, house.world.now().seconds());
    let confirm = ConfirmTotp { account, session, factor: made.factor, code };
    let codes = house.room.confirm_totp(&house.ctx(), confirm).await.unwrap();
    (made.key, codes)
}

fn half<T>(admission: Admission<T>) -> Pending {
    match admission {
        Admission::Inside(_) => panic!("the password alone was enough"),
        Admission::Pending(pending) => pending,
    }
}

fn second(pending: &Pending, method: Method, code: &Secret<String>) -> ProveSecond {
    let (secret, code) = (pending.secret.clone(), code.clone());
    ProveSecond { secret, client: Client::Browser, method, code, device: None, remember: false }
}

async fn claims(house: &House<'_>, tokens: &AppTokens) -> Claims {
    use base64::Engine as _;
    let body = tokens.access.token.split('.').nth(1).unwrap();
    let body = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body).unwrap();
    assert!(house.room.jwks().is_ok());
    serde_json::from_slice(&body).unwrap()
}

pub(crate) fn required(kind: AccountKind) -> IdentityConfig {
    let strict = KindPolicy { second_factor: SecondFactor::Required, ..KindPolicy::default() };
    let policy = match kind {
        AccountKind::Staff => PolicyConfig { staff: strict, ..PolicyConfig::default() },
        _ => PolicyConfig { customer: strict, ..PolicyConfig::default() },
    };
    IdentityConfig { policy, ..config() }
}

testkit::on_both! { ROOMS;
    // I13
    async fn a_password_alone_leads_half_way(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "ada@example.org").await;
        assert_eq!(ada.codes.len(), 10);
        let pending = ada.half_way(&house).await;
        assert_eq!(pending.methods, [Method::Totp, Method::BackupCode]);
        // What it holds is no session, here or at the edge.
        let found = house.room.session_of_secret(&house.ctx(), pending.secret.expose()).await;
        assert!(found.unwrap().is_none());
        let (ctx, secret) = (house.ctx(), &pending.secret);
        let looked = house.room.look_at_pending(&ctx, secret, Client::Browser).await;
        assert_eq!(looked.unwrap().methods, pending.methods);
        for client in [Client::App, Client::Console] {
            let elsewhere = ProveSecond { client, ..second(&pending, Method::Totp, &ada.code(&house)) };
            let refused = house.room.prove_second(&house.ctx(), elsewhere).await;
            assert!(matches!(refused, Err(Error::SignInOver)), "{client}");
        }
        let wrong = second(&pending, Method::Totp, &ada.wrong(&house));
        let refused = house.room.prove_second(&house.ctx(), wrong).await;
        assert!(matches!(refused, Err(Error::CodeWrong)));
        // The same factor does not count twice.
        let password = Secret::new(PASSWORD.to_owned());
        let again = second(&pending, Method::Password, &password);
        let refused = house.room.prove_second(&house.ctx(), again).await;
        assert!(matches!(refused, Err(Error::CodeWrong)));
        let right = second(&pending, Method::Totp, &ada.code(&house));
        let opened = house.room.prove_second(&house.ctx(), right).await.unwrap();
        assert!(house.lives(&opened).await);
        let live = house.room.session_of_secret(&house.ctx(), opened.secret.expose()).await;
        assert_eq!(live.unwrap().unwrap().methods.references(), ["pwd", "otp", "mfa"]);
        // Once.
        let over = house.room.prove_second(
            &house.ctx(), second(&pending, Method::Totp, &ada.codes[0])).await;
        assert!(matches!(over, Err(Error::SignInOver)));
        let kinds = house.kinds().await;
        for kind in ["factor_begun", "factor_added", "backup_codes_made", "second_factor_asked",
            "second_factor_refused", "second_factor_proved"]
        {
            assert!(kinds.contains(&format!("identity.{kind}")), "{kind}");
        }
        house.assert_log_holds().await;
    }

    async fn a_code_is_good_for_once(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "once@example.org").await;
        let code = ada.code(&house);
        // Eight sign-ins show it at one moment.
        let mut pendings = Vec::new();
        for _ in 0..8 {
            pendings.push(ada.half_way(&house).await);
        }
        let came_in = eight(|number| {
            let (room, ctx) = (house.room.clone(), house.ctx());
            let command = second(&pendings[usize::from(number)], Method::Totp, &code);
            async move { room.prove_second(&ctx, command).await.is_ok() }
        }).await;
        assert_eq!(came_in.iter().filter(|came_in| **came_in).count(), 1);
        // The step before counts while it was not used, and not after a later one.
        world.advance(STEP * 4);
        let now = world.now().seconds();
        let next = second(&ada.half_way(&house).await, Method::Totp, &code_at(&ada.key, now));
        house.room.prove_second(&house.ctx(), next).await.unwrap();
        let before = second(&ada.half_way(&house).await, Method::Totp, &code_at(&ada.key, now - 30));
        let refused = house.room.prove_second(&house.ctx(), before).await;
        assert!(matches!(refused, Err(Error::CodeWrong)));
    }

    async fn guesses_share_one_budget_whatever_is_tried(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "guessed@example.org").await;
        let (mut judged, mut limited) = (0, 0);
        for address in 0..60 {
            let ctx = house.ctx_from(address);
            let admission = house.room.sign_in(&ctx, sign_in(ada.email, PASSWORD)).await.unwrap();
            let guess = second(&half(admission), Method::Totp, &ada.wrong(&house));
            match house.room.prove_second(&ctx, guess).await {
                Err(Error::CodeWrong) => judged += 1,
                Err(Error::Limited { .. }) => limited += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((judged, limited), (5, 55));
        // Who guesses at the app keeps nobody from the other methods ...
        let pending = ada.half_way(&house).await;
        let paper = second(&pending, Method::BackupCode, &ada.codes[0]);
        house.room.prove_second(&house.ctx(), paper).await.unwrap();
        // ... nor the owner from the app, on a device that the account knows.
        let device = Some(house.room.device_token(&house.ctx(), ada.id).await.unwrap());
        let pending = ada.half_way(&house).await;
        let known =
            ProveSecond { device, ..second(&pending, Method::Totp, &ada.code(&house)) };
        house.room.prove_second(&house.ctx(), known).await.unwrap();
        // G9: over a whole day, less than 5 in 10,000: three codes are right at any moment.
        let mut day = 5;
        for _ in 0..(24 * 4) {
            world.advance(Duration::from_secs(900));
            let pending = ada.half_way(&house).await;
            for _ in 0..3 {
                let guess = second(&pending, Method::Totp, &ada.wrong(&house));
                let guess = house.room.prove_second(&house.ctx(), guess).await;
                day += u32::from(matches!(guess, Err(Error::CodeWrong)));
            }
        }
        assert!((90..=101).contains(&day), "{day}");
        assert!(3.0 * f64::from(day) / 1e6 < 5e-4);
    }

    async fn backup_codes_work_once_each(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "paper@example.org").await;
        let mut pendings = Vec::new();
        for _ in 0..8 {
            pendings.push(ada.half_way(&house).await);
        }
        let came_in = eight(|number| {
            let (room, ctx) = (house.room.clone(), house.ctx());
            let typed = ada.codes[3].expose().to_lowercase().replace('-', " ");
            let pending = &pendings[usize::from(number)];
            let command = second(pending, Method::BackupCode, &Secret::new(typed));
            async move { room.prove_second(&ctx, command).await.is_ok() }
        }).await;
        assert_eq!(came_in.iter().filter(|came_in| **came_in).count(), 1);
        assert_eq!(house.room.factors(ada.id).await.unwrap().backup_codes_left, 9);
        let told = house.letters(ada.email).await;
        assert!(told.last().unwrap().subject.contains("backup code"), "{:?}", told.last());
        // Another's code is none.
        let other = Guarded::new(&house, "other@example.org").await;
        let pending = other.half_way(&house).await;
        let foreign = second(&pending, Method::BackupCode, &ada.codes[4]);
        let refused = house.room.prove_second(&house.ctx(), foreign).await;
        assert!(matches!(refused, Err(Error::CodeWrong)));
        // New ones kill the old.
        let session = other.inside.session;
        let code = Code { method: Method::BackupCode, code: other.codes[9].clone() };
        let command = NewBackupCodes { account: other.id, session, code };
        let new = house.room.new_backup_codes(&house.ctx(), command).await.unwrap();
        assert_eq!(house.room.factors(other.id).await.unwrap().backup_codes_left, 10);
        let pending = other.half_way(&house).await;
        for old in [&other.codes[0], &other.codes[9]] {
            let proof = second(&pending, Method::BackupCode, old);
            let refused = house.room.prove_second(&house.ctx(), proof).await;
            assert!(matches!(refused, Err(Error::CodeWrong)));
        }
        house.room.prove_second(&house.ctx(), second(&pending, Method::BackupCode, &new[0]))
            .await.unwrap();
        house.assert_log_holds().await;
    }

    async fn a_factor_that_comes_or_goes_ends_every_session_but_its_own(world: &testkit::World) {
        let house = House::new(world);
        let email = "changes@example.org";
        let id = house.customer(email).await;
        let own = house.sign_in(email, PASSWORD).await.unwrap();
        let other = house.sign_in(email, PASSWORD).await.unwrap();
        let (key, codes) = add(&house, id, own.session).await;
        assert!(house.lives(&own).await && !house.lives(&other).await);
        // A second app gives no new codes; either makes codes that count.
        world.advance(STEP);
        let (second_key, more) = add(&house, id, own.session).await;
        assert!(more.is_empty());
        world.advance(STEP);
        let now = world.now().seconds();
        for key in [&key, &second_key] {
            let admission = house.room.sign_in(&house.ctx(), sign_in(email, PASSWORD)).await;
            let proof = second(&half(admission.unwrap()), Method::Totp, &code_at(key, now));
            house.room.prove_second(&house.ctx(), proof).await.unwrap();
        }
        let listed = house.room.factors(id).await.unwrap().factors;
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].name, "My phone");
        // Taking away asks for a code, and ends the others again.
        let remove = |factor, code: &Secret<String>| RemoveFactor {
            account: id,
            session: own.session,
            factor,
            code: Code { method: Method::BackupCode, code: code.clone() },
        };
        let wrong = Secret::new("00000-00000".to_owned());
        let refused = house.room.remove_factor(&house.ctx(), remove(listed[0].id, &wrong)).await;
        assert!(matches!(refused, Err(Error::CodeWrong)));
        for (factor, code) in listed.iter().zip(&codes) {
            house.room.remove_factor(&house.ctx(), remove(factor.id, code)).await.unwrap();
        }
        let gone = house.room.remove_factor(&house.ctx(), remove(listed[0].id, &codes[2])).await;
        assert!(matches!(gone, Err(Error::NotFound)));
        // With the last one the codes went: the password is enough again.
        assert_eq!(house.room.factors(id).await.unwrap().backup_codes_left, 0);
        assert!(house.sign_in(email, PASSWORD).await.is_ok());
        assert!(house.lives(&own).await);
        house.assert_log_holds().await;
    }

    async fn a_sign_in_that_began_before_a_factor_came_is_over(world: &testkit::World) {
        let house = House::with(world, required(AccountKind::Customer));
        let email = "raced@example.org";
        let id = house.customer(email).await;
        let enrols = half(house.room.sign_in(&house.ctx(), sign_in(email, PASSWORD)).await.unwrap());
        assert_eq!(enrols.methods, []);
        let thief = half(house.room.sign_in(&house.ctx(), sign_in(email, PASSWORD)).await.unwrap());
        let ctx = house.ctx();
        let made = house.room.enrol_pending(&ctx, &enrols.secret, Client::Browser).await.unwrap();
        let first = |pending: &Pending, factor, code: Secret<String>| ProveFirst {
            secret: pending.secret.clone(), client: Client::Browser, factor, code,
        };
        let code = code_at(&made.key, world.now().seconds());
        let wrong = first(&enrols, made.factor, Secret::new("not one".to_owned()));
        assert!(matches!(house.room.prove_first(&ctx, wrong).await, Err(Error::CodeWrong)));
        let right = first(&enrols, made.factor, code.clone());
        let (opened, codes) = house.room.prove_first(&ctx, right).await.unwrap();
        assert!(house.lives(&opened).await && codes.len() == 10);
        // Whoever was half-way beside it can add nothing any more, nor prove.
        let again = house.room.enrol_pending(&ctx, &thief.secret, Client::Browser).await;
        assert!(matches!(again, Err(Error::SignInOver)));
        let proof = second(&thief, Method::BackupCode, &codes[0]);
        assert!(matches!(house.room.prove_second(&ctx, proof).await, Err(Error::SignInOver)));
        // And the last one cannot be taken away.
        let factor = house.room.factors(id).await.unwrap().factors[0].id;
        let code = Code { method: Method::BackupCode, code: codes[1].clone() };
        let remove = RemoveFactor { account: id, session: opened.session, factor, code };
        let refused = house.room.remove_factor(&ctx, remove).await;
        assert!(matches!(refused, Err(Error::LastFactor)));
        house.assert_log_holds().await;
    }

    async fn half_way_ends_with_what_it_began_by(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "ends@example.org").await;
        // With time.
        let pending = ada.half_way(&house).await;
        world.advance(Duration::from_secs(601));
        let late = second(&pending, Method::Totp, &ada.code(&house));
        assert!(matches!(house.room.prove_second(&house.ctx(), late).await, Err(Error::SignInOver)));
        // With another password: the thief of the old one is out.
        let pending = ada.half_way(&house).await;
        let (account, session) = (ada.id, ada.inside.session);
        let (old, new) = (Secret::new(PASSWORD.to_owned()), Secret::new(OTHER.to_owned()));
        let change = ChangePassword { account, session, old, new };
        house.room.change_password(&house.ctx(), change).await.unwrap();
        let stale = second(&pending, Method::Totp, &ada.code(&house));
        assert!(matches!(house.room.prove_second(&house.ctx(), stale).await, Err(Error::SignInOver)));
        // A reset by mail leads past nothing.
        let forgot = identity::ForgotPassword { email: ada.email.to_owned() };
        house.room.forgot_password(&house.ctx(), forgot).await.unwrap();
        let secret = house.link(ada.email).await;
        let password = Secret::new(PASSWORD.to_owned());
        house.room.reset_password(&house.ctx(), ResetPassword { secret, password }).await.unwrap();
        let pending = ada.half_way(&house).await;
        // An operator lets in who lost everything; the sessions end.
        let right = second(&pending, Method::Totp, &ada.code(&house));
        let inside = house.room.prove_second(&house.ctx(), right).await.unwrap();
        let pending = ada.half_way(&house).await;
        let operator = world.ctx(Actor::Operator { id: None });
        house.room.reset_factors(&operator, ada.id, "lost the phone").await.unwrap();
        assert!(!house.lives(&inside).await);
        let stale = second(&pending, Method::BackupCode, &ada.codes[0]);
        assert!(matches!(house.room.prove_second(&house.ctx(), stale).await, Err(Error::SignInOver)));
        assert!(house.sign_in(ada.email, PASSWORD).await.is_ok());
        let none = house.room.reset_factors(&operator, ada.id, "again").await;
        assert!(matches!(none, Err(Error::State(_))));
        house.assert_log_holds().await;
    }

    // I16
    async fn a_trusted_device_is_not_asked_again(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "trusts@example.org").await;
        let remember = |pending: &Pending, code: &Secret<String>| ProveSecond {
            remember: true, ..second(pending, Method::BackupCode, code)
        };
        let with = |trust: &Secret<String>| SignIn {
            trust: Some(trust.clone()), ..sign_in(ada.email, PASSWORD)
        };
        let pending = ada.half_way(&house).await;
        let opened = house.room.prove_second(&house.ctx(), remember(&pending, &ada.codes[0])).await;
        let trust = opened.unwrap().trust.unwrap().secret;
        // It stands in for the factor, not for the password, and for nobody else.
        let wrong = SignIn { password: Secret::new(OTHER.to_owned()), ..with(&trust) };
        let refused = house.room.sign_in(&house.ctx(), wrong).await;
        assert!(matches!(refused, Err(Error::SignInRefused)));
        let other = Guarded::new(&house, "stranger@example.org").await;
        let foreign = SignIn { trust: Some(trust.clone()), ..sign_in(other.email, PASSWORD) };
        let _ = half(house.room.sign_in(&house.ctx(), foreign).await.unwrap());
        let app = SignIn { client: Client::App, ..with(&trust) };
        let _ = half(house.room.sign_in_app(&house.ctx(), app).await.unwrap());
        let inside = house.room.sign_in(&house.ctx(), with(&trust)).await.unwrap().inside().unwrap();
        let next = inside.trust.unwrap().secret;
        let live = house.room.session_of_secret(&house.ctx(), inside.secret.expose()).await;
        let methods = live.unwrap().unwrap().methods;
        assert_eq!((methods.references(), methods.level()), (vec!["pwd".to_owned()], "aal1"));
        assert_eq!(house.room.trusted_devices(&house.ctx(), ada.id).await.unwrap().len(), 1);
        // A copy that comes back when the owner has been in again ends it for both.
        let copied = house.room.sign_in(&house.ctx(), with(&trust)).await.unwrap();
        let _ = half(copied);
        let _ = half(house.room.sign_in(&house.ctx(), with(&next)).await.unwrap());
        assert_eq!(house.events("identity.trust_ended").await[0].plain["why"], "reused");
        // Eight at once: one of them, and it ends nothing that it should not.
        let pending = ada.half_way(&house).await;
        let opened = house.room.prove_second(&house.ctx(), remember(&pending, &ada.codes[1])).await;
        let trust = opened.unwrap().trust.unwrap().secret;
        let came_in = eight(|_| {
            let (room, ctx, command) = (house.room.clone(), house.ctx(), with(&trust));
            async move { room.sign_in(&ctx, command).await.unwrap().inside().is_some() }
        }).await;
        assert_eq!(came_in.iter().filter(|came_in| **came_in).count(), 1);
        // Whatever ends the sessions ends it: here, another password.
        let pending = ada.half_way(&house).await;
        let opened = house.room.prove_second(&house.ctx(), remember(&pending, &ada.codes[2])).await;
        let opened = opened.unwrap();
        let trust = opened.trust.unwrap().secret;
        let (old, new) = (Secret::new(PASSWORD.to_owned()), Secret::new(OTHER.to_owned()));
        let change = ChangePassword { account: ada.id, session: opened.session, old, new };
        house.room.change_password(&house.ctx(), change).await.unwrap();
        let new = SignIn { password: Secret::new(OTHER.to_owned()), ..with(&trust) };
        let _ = half(house.room.sign_in(&house.ctx(), new).await.unwrap());
        assert_eq!(house.room.trusted_devices(&house.ctx(), ada.id).await.unwrap().len(), 0);
        // And time.
        let with = |trust: &Secret<String>| SignIn {
            trust: Some(trust.clone()), ..sign_in(ada.email, OTHER)
        };
        let admission = house.room.sign_in(&house.ctx(), sign_in(ada.email, OTHER)).await.unwrap();
        let opened = house.room.prove_second(&house.ctx(), remember(&half(admission), &ada.codes[3])).await;
        let trust = opened.unwrap().trust.unwrap().secret;
        world.advance(Duration::from_secs(30 * 86_400 + 1));
        let _ = half(house.room.sign_in(&house.ctx(), with(&trust)).await.unwrap());
        house.assert_log_holds().await;
    }

    async fn who_sells_wholesale_is_asked_each_time(world: &testkit::World) {
        let house = House::new(world);
        let id = house.staff("grace@example.org", &[StaffRole::Support]).await;
        let at_console =
            || SignIn { client: Client::Console, ..sign_in("grace@example.org", PASSWORD) };
        let inside = house.room.sign_in(&house.ctx(), at_console()).await.unwrap().inside().unwrap();
        let (_, codes) = add(&house, id, inside.session).await;
        let pending = half(house.room.sign_in(&house.ctx(), at_console()).await.unwrap());
        let proof = second(&pending, Method::BackupCode, &codes[0]);
        let proof = ProveSecond { client: Client::Console, remember: true, ..proof };
        let looked = house.room.look_at_pending(&house.ctx(), &pending.secret, Client::Console).await;
        assert_eq!(looked.unwrap().remember, None);
        assert!(house.room.prove_second(&house.ctx(), proof).await.unwrap().trust.is_none());
    }

    async fn a_second_factor_is_proved_inside_a_session(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "steps@example.org").await;
        let stepped = |session, code: Secret<String>| StepUp {
            account: ada.id, session, code: Code { method: Method::Totp, code },
        };
        let methods = async |opened: &Opened| {
            let live = house.room.session_of_secret(&house.ctx(), opened.secret.expose()).await;
            live.unwrap().unwrap().methods
        };
        // She sat in this session when the app came.
        assert_eq!(methods(&ada.inside).await.level(), "aal1");
        let session = ada.inside.session;
        let wrong = house.room.step_up(&house.ctx(), stepped(session, ada.wrong(&house))).await;
        assert!(matches!(wrong, Err(Error::CodeWrong)));
        assert!(house.lives(&ada.inside).await);
        let code = ada.code(&house);
        let up = house.room.step_up(&house.ctx(), stepped(session, code.clone())).await.unwrap();
        assert_eq!(methods(&up.opened).await.level(), "aal2");
        // I8: the session before is over, and the code is used.
        assert!(!house.lives(&ada.inside).await);
        let again = house.room.step_up(&house.ctx(), stepped(up.opened.session, code)).await;
        assert!(matches!(again, Err(Error::CodeWrong)));
        // The password alone, proved again, makes no old code fresh.
        let password = Secret::new(PASSWORD.to_owned());
        let confirm = ConfirmPassword { account: ada.id, session: up.opened.session, password };
        let down = house.room.confirm_password(&house.ctx(), confirm).await.unwrap();
        assert_eq!(methods(&down.opened).await.level(), "aal1");
        // Of another's session, or one that is over, nothing comes.
        world.advance(STEP);
        let over = house.room.step_up(&house.ctx(), stepped(session, ada.code(&house))).await;
        assert!(matches!(over, Err(Error::SessionEnded)));
        let other = Guarded::new(&house, "stranger@example.org").await;
        let foreign = stepped(other.inside.session, ada.code(&house));
        let foreign = house.room.step_up(&house.ctx(), foreign).await;
        assert!(matches!(foreign, Err(Error::SessionEnded)), "{foreign:?}");
        assert!(house.lives(&other.inside).await);
        house.assert_log_holds().await;
    }

    async fn apps_and_operators_pass_the_same_gate(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "app@example.org").await;
        let ctx = house.ctx();
        let app = || sign_in(ada.email, PASSWORD);
        let pending = half(house.room.sign_in_app(&ctx, app()).await.unwrap());
        let proof = second(&pending, Method::Totp, &ada.code(&house));
        let proof = ProveSecond { client: Client::App, ..proof };
        let tokens = house.room.prove_second_app(&ctx, proof).await.unwrap();
        let said = claims(&house, &tokens).await;
        assert_eq!((said.amr.as_slice(), said.acr.as_str()),
            (["pwd", "otp", "mfa"].map(str::to_owned).as_slice(), "aal2"));
        // What it proved stays with the sign-in.
        let refreshed = house.room.refresh(&ctx, &tokens.refresh).await.unwrap();
        assert_eq!(claims(&house, &refreshed).await.acr, "aal2");
        let id = house.staff("grace@example.org", &[StaffRole::Admin]).await;
        let at_console =
            || SignIn { client: Client::Console, ..sign_in("grace@example.org", PASSWORD) };
        let inside = house.room.sign_in(&ctx, at_console()).await.unwrap().inside().unwrap();
        let (key, _) = add(&house, id, inside.session).await;
        world.advance(STEP);
        let pending = half(house.room.sign_in(&ctx, at_console()).await.unwrap());
        let code = code_at(&key, world.now().seconds());
        let proof = second(&pending, Method::Totp, &code);
        let proof = ProveSecond { client: Client::Console, ..proof };
        let opened = house.room.prove_second(&ctx, proof).await.unwrap();
        assert_eq!(opened.kind, AccountKind::Staff);
    }

    async fn a_death_half_way_uses_up_nothing_without_letting_in(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "dies@example.org").await;
        for (polls, code) in (1..).zip(&ada.codes) {
            let pending = ada.half_way(&house).await;
            let command = second(&pending, Method::BackupCode, code);
            let ctx = house.ctx();
            let before = house.room.factors(ada.id).await.unwrap().backup_codes_left;
            let came_through =
                DieAfter::polls(polls * 3, house.room.prove_second(&ctx, command)).await;
            let after = house.room.factors(ada.id).await.unwrap().backup_codes_left;
            let sessions = house.events("identity.second_factor_proved").await.len();
            assert_eq!(before - after, u32::from(after < before));
            let used = 10 - after;
            assert_eq!(usize::try_from(used).unwrap(), sessions, "{polls} polls");
            if came_through.is_some() {
                break;
            }
        }
        house.assert_log_holds().await;
    }
}

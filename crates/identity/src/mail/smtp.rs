//! Letters by SMTP, over TLS by rustls. STARTTLS is required where it is configured, never
//! optional: a server that does not offer it gets nothing. A server inside the shop's network may
//! have a certificate of the shop's own authority; then that one is believed, and no other.

use std::time::Duration;

use kernel::Secret;
use lettre::Message;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use spine::BoxFuture;

use super::{Mail, MailError, MailId, Mailer};
use crate::config::{MailConfig, SmtpSecurity};
use crate::error::Error;

/// How long a server may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// What the files hold that the configuration names.
#[derive(Debug, Default)]
pub struct SmtpFiles {
    /// The user's password.
    pub password: Option<Secret<String>>,
    /// Certificates of the authority that the server's certificate must lead to, PEM.
    pub authority: Option<Vec<u8>>,
}

/// Sends by a mail server, each letter on a connection of its own: one on which a letter was cut
/// off is in no state to take the next.
pub struct SmtpMailer {
    from: Mailbox,
    place: (String, u16),
    security: SmtpSecurity,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    hello: ClientId,
    mail_max: Duration,
}

impl SmtpMailer {
    /// A mailer for this configuration.
    ///
    /// # Errors
    /// [`Error::Config`] where the sender, the server's name, its authority or the user cannot be
    /// used.
    pub fn new(config: &MailConfig, files: &SmtpFiles) -> Result<Self, Error> {
        let from = config.from.parse().map_err(|_| Error::Config("identity.mail.from"))?;
        let tls = match config.smtp_security {
            SmtpSecurity::StartTls | SmtpSecurity::Tls => {
                Some(parameters(&config.smtp_host, files.authority.as_deref())?)
            }
            SmtpSecurity::None => None,
        };
        let credentials = match (&config.smtp_user, &files.password) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(Error::Config("identity.mail.smtp_user wants smtp_password_file"));
            }
            (Some(_), Some(_)) if tls.is_none() => {
                return Err(Error::Config("identity.mail: a password would go without TLS"));
            }
            (Some(user), Some(password)) => {
                Some(Credentials::new(user.clone(), password.expose().clone()))
            }
        };
        Ok(Self {
            from,
            place: (config.smtp_host.clone(), config.smtp_port),
            security: config.smtp_security,
            tls,
            credentials,
            hello: ClientId::default(),
            mail_max: config.smtp_mail_max(),
        })
    }

    /// A connection on which letters may be sent.
    async fn enter(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let at_once = self.tls.clone().filter(|_| self.security == SmtpSecurity::Tls);
        let place = (self.place.0.as_str(), self.place.1);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(place, None, &self.hello, at_once, None).await?;
        if let Some(tls) = self.tls.clone().filter(|_| self.security == SmtpSecurity::StartTls) {
            connection.starttls(tls, &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    /// Sends a letter, and gives the connection on which it was taken.
    async fn hand_over(&self, message: &Message) -> Result<AsyncSmtpConnection, MailError> {
        // What is refused here, for good or not, is refused to us and not to the letter.
        let entered = self.enter().await;
        let mut connection = entered.map_err(|error| MailError::Later(why(&error)))?;
        match connection.send(message.envelope(), &message.formatted()).await {
            Ok(_) => Ok(connection),
            Err(error) if error.is_permanent() => Err(MailError::Never("it said so")),
            Err(error) => Err(MailError::Later(why(&error))),
        }
    }

    fn message(&self, id: MailId, mail: &Mail) -> Result<Message, MailError> {
        let to = mail.to.parse().map_err(|_| MailError::Never("the address"))?;
        let domain = self.from.email.domain();
        // The same name for each try: a reader's mail program shows a letter that came twice once.
        Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(mail.subject.clone())
            .message_id(Some(format!("<{id}@{domain}>")))
            .multipart(
                MultiPart::alternative()
                    .singlepart(part(ContentType::TEXT_PLAIN, &mail.text))
                    .singlepart(part(ContentType::TEXT_HTML, &mail.html)),
            )
            .map_err(|_| MailError::Never("the message"))
    }
}

/// What is asked of the server's certificate.
fn parameters(host: &str, authority: Option<&[u8]>) -> Result<TlsParameters, Error> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = authority {
        let certificate = Certificate::from_pem(pem)
            .map_err(|_| Error::Config("identity.mail.smtp_ca_file holds no certificate"))?;
        builder =
            builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().map_err(|_| Error::Config("identity.mail.smtp_host is no host name"))
}

/// Why a letter was not sent, without the server's own words, which may hold an address.
fn why(error: &SmtpError) -> &'static str {
    if error.is_permanent() {
        return "it does not let us in: look at the user and the password";
    }
    if error.is_transient() {
        return "it said so";
    }
    if error.is_client() {
        return "it offers no STARTTLS, or no way to sign in that we know";
    }
    if error.is_timeout() {
        return "it took too long";
    }
    // A certificate that is not believed comes as a broken connection (`InvalidData`).
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData) {
            return "TLS failed: is its certificate of an authority that is believed?";
        }
        source = error.source();
    }
    "it was not reached"
}

fn part(kind: ContentType, body: &str) -> SinglePart {
    SinglePart::builder().header(kind).body(body.to_owned())
}

impl Mailer for SmtpMailer {
    fn send<'a>(&'a self, id: MailId, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        Box::pin(async move {
            let message = self.message(id, mail)?;
            // The library bounds only the way to the server, not what the server says then.
            match tokio::time::timeout(self.mail_max, self.hand_over(&message)).await {
                Ok(Ok(mut connection)) => {
                    // It is taken, whatever the server answers to a good-bye.
                    let _ = tokio::time::timeout(GOOD_BYE, connection.quit()).await;
                    Ok(())
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(MailError::Later("it took too long")),
            }
        })
    }
}

//! Letters by SMTP, over TLS by rustls. STARTTLS is required where it is configured, never
//! optional: a server that does not offer it gets nothing.

use std::time::Duration;

use kernel::Secret;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use spine::BoxFuture;

use super::{Mail, MailError, MailId, Mailer};
use crate::config::{MailConfig, SmtpSecurity};
use crate::error::Error;

/// How long a mail server may take for one step.
const STEP: Duration = Duration::from_secs(20);

/// Sends by a mail server.
pub struct SmtpMailer {
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl SmtpMailer {
    /// A mailer for this configuration; `password` comes from the file that it names.
    ///
    /// # Errors
    /// [`Error::Config`] where the sender or the server's name cannot be used.
    pub fn new(config: &MailConfig, password: Option<&Secret<String>>) -> Result<Self, Error> {
        let from = config.from.parse().map_err(|_| Error::Config("identity.mail.from"))?;
        let host = &config.smtp_host;
        let parameters = || {
            TlsParameters::new(host.clone())
                .map_err(|_| Error::Config("identity.mail.smtp_host is no host name"))
        };
        let tls = match config.smtp_security {
            SmtpSecurity::StartTls => Tls::Required(parameters()?),
            SmtpSecurity::Tls => Tls::Wrapper(parameters()?),
            SmtpSecurity::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(config.smtp_port)
            .timeout(Some(STEP))
            .tls(tls);
        if let (Some(user), Some(password)) = (&config.smtp_user, password) {
            if config.smtp_security == SmtpSecurity::None {
                return Err(Error::Config("identity.mail: a password would go without TLS"));
            }
            builder =
                builder.credentials(Credentials::new(user.clone(), password.expose().clone()));
        }
        Ok(Self { from, transport: builder.build() })
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

fn part(kind: ContentType, body: &str) -> SinglePart {
    SinglePart::builder().header(kind).body(body.to_owned())
}

impl Mailer for SmtpMailer {
    fn send<'a>(&'a self, id: MailId, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        Box::pin(async move {
            let message = self.message(id, mail)?;
            match self.transport.send(message).await {
                Ok(_) => Ok(()),
                Err(error) if error.is_permanent() => Err(MailError::Never("it said so")),
                Err(error) if error.is_timeout() => Err(MailError::Later("it took too long")),
                Err(error) if error.is_tls() => Err(MailError::Later("TLS failed")),
                Err(_) => Err(MailError::Later("it said so, or was not reached")),
            }
        })
    }
}

//! A message as an e-mail. One connection for each attempt, and the server's reply to the whole message is the proof: what
//! happens to the connection afterwards changes nothing.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Response};

use super::message::{Form, Message, Subject};
use super::receiver::{Failed, Proof, chain, shown};

/// How long the server may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where and how.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// The server's name or address.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// Whether and when the connection is encrypted.
    pub(crate) protection: Protection,
    /// The account, if the server asks for one. Its `Debug` shows nothing.
    pub(crate) credentials: Option<Credentials>,
    /// Who writes.
    pub(crate) from: Mailbox,
    /// Who reads; at least one.
    pub(crate) to: Vec<Mailbox>,
    /// The subject.
    pub(crate) subject: Subject,
    /// The text.
    pub(crate) form: Form,
}

/// Whether and when a connection is encrypted.
#[derive(Clone)]
pub(crate) enum Protection {
    /// Never.
    None,
    /// After `STARTTLS`, or nothing is sent.
    StartTls(TlsParameters),
    /// From its start.
    Tls(TlsParameters),
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::StartTls(_) => "StartTls",
            Self::Tls(_) => "Tls",
        })
    }
}

impl Mail {
    /// One mail.
    ///
    /// # Errors
    /// The server has not taken it.
    pub(crate) async fn tell(&self, message: &Message) -> Result<Proof, Failed> {
        let mail = self.compose(message)?;
        let mut connection = self.connect().await.map_err(|error| failed(&error))?;
        let sent = connection.send(mail.envelope(), &mail.formatted()).await;
        tokio::spawn(async move {
            // The answer is there; whether the connection ends in order is nobody's concern.
            drop(tokio::time::timeout(FAREWELL, connection.abort()).await);
        });
        let response = sent.map_err(|error| failed(&error))?;
        Ok(proof(&response))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let hello = ClientId::default();
        let from_start = match &self.protection {
            Protection::Tls(tls) => Some(tls.clone()),
            Protection::None | Protection::StartTls(_) => None,
        };
        let server = (self.host.as_str(), self.port);
        // The time of the whole attempt is limited by whoever asks for it.
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, None, &hello, from_start, None).await?;
        if let Protection::StartTls(tls) = &self.protection {
            connection.starttls(tls.clone(), &hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    fn compose(&self, message: &Message) -> Result<lettre::Message, Failed> {
        let domain = self.from.email.domain();
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .subject(self.subject.line(message))
            .message_id(Some(format!("<{}@{domain}>", message.id)))
            .header(ContentType::TEXT_PLAIN);
        let addressed = self.to.iter().cloned().fold(mail, MessageBuilder::to);
        addressed
            .body(self.form.body(message))
            .map_err(|error| Failed::lasting(format!("no mail can be made: {error}")))
    }
}

fn proof(response: &Response) -> Proof {
    let words: Vec<&str> = response.message().collect();
    Proof {
        code: response.code().into(),
        answer: shown(&words.join(" ")),
    }
}

/// Only a refusal for good ends the attempts: the rest may be another tomorrow.
fn failed(error: &Error) -> Failed {
    Failed {
        is_passing: !error.is_permanent(),
        why: shown(&chain(error)),
    }
}

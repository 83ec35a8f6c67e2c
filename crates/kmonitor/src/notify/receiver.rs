//! A receiver: its form, its way, and what an attempt to tell it something ends with.

use std::time::Duration;

use super::mail::Mail;
use super::message::Message;
use super::webhook::Webhook;

/// The longest answer that is kept for the log, in characters.
const MOST_SHOWN: usize = 200;

/// Somebody who is told.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    /// Its name in the configuration file, the log and the metrics.
    pub(crate) name: String,
    /// How it is told.
    pub(crate) way: Way,
    /// The longest time of one attempt, from looking up the name to the answer.
    pub(crate) timeout: Duration,
}

/// How a receiver is told.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// By a request over HTTP.
    Webhook(Box<Webhook>),
    /// By an e-mail.
    Mail(Box<Mail>),
}

/// The receiver has taken the message, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The status of HTTP or the code of SMTP.
    pub(crate) code: u16,
    /// What it answered; with SMTP this names the message in the server's queue.
    pub(crate) answer: String,
}

/// The receiver has not taken the message, or nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Failed {
    /// Another attempt may succeed.
    pub(crate) is_passing: bool,
    /// What happened.
    pub(crate) why: String,
}

impl Failed {
    /// Another attempt may succeed.
    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self {
            is_passing: true,
            why: why.into(),
        }
    }

    /// Every attempt would end so.
    pub(crate) fn lasting(why: impl Into<String>) -> Self {
        Self {
            is_passing: false,
            why: why.into(),
        }
    }
}

impl Receiver {
    /// One attempt.
    ///
    /// # Errors
    /// There was no answer in time, or it was a refusal.
    pub(crate) async fn tell(&self, message: &Message) -> Result<Proof, Failed> {
        let telling = async {
            match &self.way {
                Way::Webhook(webhook) => webhook.tell(message).await,
                Way::Mail(mail) => mail.tell(message).await,
            }
        };
        let told = tokio::time::timeout(self.timeout, telling).await;
        told.unwrap_or_else(|_elapsed| {
            let why = format!("no answer within {:?}", self.timeout);
            Err(Failed::passing(why))
        })
    }
}

/// An answer as it is shown in the log: on one line, and not too long.
#[must_use]
pub(crate) fn shown(answer: &str) -> String {
    let words: Vec<&str> = answer.split_whitespace().collect();
    let line = words.join(" ");
    let visible = line.chars().filter(|c| !c.is_control());
    visible.take(MOST_SHOWN).collect()
}

/// An error with its causes, on one line.
#[must_use]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
